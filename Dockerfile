# The virtual board, its suite and the log analyser.
#
#   docker build -t hotpin-hil .
#   docker run --rm -v "$PWD/build:/project/build" hotpin-hil                     # make qualify
#   docker run --rm -i hotpin-hil .venv/bin/hotpin-hil analyze - <monitor.txt
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /project

# Python packages change less often than the sources: a separate layer.
COPY Makefile pyproject.toml constraints.txt requirements.lock README.md ./
COPY hotpin_hil hotpin_hil
RUN make setup LOCKED=1

COPY . .
RUN make native LOCKED=1

ENV HOTPIN_BOARD=virtual LOCKED=1
CMD ["make", "qualify"]
