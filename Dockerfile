# athensd with Go, git and ssh, as a user of its own.  Modules are kept in the volume /var/lib/athensd; an athens.toml in
# /etc/athensd is read, if there is one, and a ~/.netrc or ~/.ssh for private repositories belongs in /home/athensd.
# Stopping it drains: give it as long as ShutdownTimeout (docker run --stop-timeout 65).

FROM golang:1.26.8 AS go

FROM python:3.11.11-slim-bookworm AS build
WORKDIR /src
COPY setup.py pyproject.toml README.md ./
COPY twisted twisted
COPY athensd athensd
RUN python -m venv /opt/athensd && /opt/athensd/bin/pip install --no-cache-dir ".[fast,jaeger,otlp,prometheus,s3,gcp,azureblob,mongo,redis,postgres,mysql,users]"
# Twisted remembers its plugins in a file beside them, which the user that runs it may not write.
RUN /opt/athensd/bin/twistd --help >/dev/null

FROM python:3.11.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home athensd \
    && mkdir /etc/athensd \
    && install -d -o athensd /var/lib/athensd
COPY --from=go /usr/local/go /usr/local/go
COPY --from=build /opt/athensd /opt/athensd
ENV PATH=/opt/athensd/bin:/usr/local/go/bin:$PATH \
    ATHENS_STORAGE_TYPE=disk \
    ATHENS_DISK_STORAGE_ROOT=/var/lib/athensd
USER athensd
WORKDIR /etc/athensd
VOLUME /var/lib/athensd
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-c", "\
from http.client import HTTPConnection; \
connection = HTTPConnection('127.0.0.1', 3000, timeout=4); \
connection.request('GET', '/healthz'); \
raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--"]
CMD ["twistd", "--nodaemon", "--pidfile=", "athens"]
