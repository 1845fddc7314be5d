FROM scratch
COPY context/numbers_of_mine.py /app/
