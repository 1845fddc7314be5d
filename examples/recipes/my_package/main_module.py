"""What the application calls."""


def process_data():
    return "processed"
