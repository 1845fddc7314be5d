"""A module that containers can import."""


def greet():
    return "hello from my_module"
