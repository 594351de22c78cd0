# The daemon in a container: non-root, fit for a read-only root file system (give it a tmpfs on /tmp), store.url required.
# The target `slim` leaves out Evidently, and with it the reports for people; the last target has everything.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/monitor
WORKDIR /source
# First what changes rarely: the versions of the lock, without the embedded Postgres and what only developers need.
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY deploy/lean.sh lean.sh
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > wanted.txt
# What reports need, and nothing else does: `slim` goes without.
RUN grep --invert-match '^evidently' wanted.txt > slim.txt \
    && pip --python /opt/monitor/bin/python install --requirement slim.txt --constraint requirements.lock && sh lean.sh /opt/monitor

# pip compiles what it installs: a read-only container could never store the bytecode.
FROM packages AS build-slim
COPY docs/runbook.md docs/runbook.md
COPY migrations migrations
COPY monitor monitor
RUN pip --python /opt/monitor/bin/python install --no-deps .

FROM packages AS build-full
RUN pip --python /opt/monitor/bin/python install --requirement wanted.txt --constraint requirements.lock && sh lean.sh /opt/monitor
COPY docs/runbook.md docs/runbook.md
COPY migrations migrations
COPY monitor monitor
RUN pip --python /opt/monitor/bin/python install --no-deps . && pip --python /opt/monitor/bin/python check

FROM python:${PYTHON}-slim AS base
RUN groupadd --gid 10001 monitor \
    && useradd --uid 10001 --gid 10001 --home-dir /srv/monitor --shell /usr/sbin/nologin --create-home monitor
ENV PATH=/opt/monitor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
# monitor.yaml is mounted here.
WORKDIR /srv/monitor
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["monitor"]
CMD ["run"]

FROM base AS slim
COPY --from=build-slim /opt/monitor /opt/monitor

FROM base AS full
COPY --from=build-full /opt/monitor /opt/monitor
