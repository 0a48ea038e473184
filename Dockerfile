# The command csrd and the workflow, from the wheel:  make wheel && docker build --tag csrd .
FROM python:3.11-slim

ARG EXTRAS=all
COPY constraints.txt dist/*.whl /opt/csrd/
RUN pip install --no-cache-dir --constraint /opt/csrd/constraints.txt "$(ls /opt/csrd/csrd-*.whl)[${EXTRAS}]" \
    && useradd --create-home --uid 1000 csrd
COPY workflow /opt/csrd/workflow
COPY config /opt/csrd/config

USER 1000
WORKDIR /home/csrd
ENTRYPOINT ["csrd"]
CMD ["--help"]
