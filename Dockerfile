# The daemon in a container: non-root, fit for a read-only root file system (give it a tmpfs on /tmp), store.url required.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/monitor
WORKDIR /source
# First what changes rarely: the versions of the lock, without the embedded Postgres and what only developers need.
COPY pyproject.toml README.md LICENSE requirements.lock ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > wanted.txt \
    && /opt/monitor/bin/pip install --requirement wanted.txt --constraint requirements.lock
COPY migrations migrations
COPY monitor monitor
# pip compiles what it installs: a read-only container could never store the bytecode.
RUN /opt/monitor/bin/pip install --no-deps . && /opt/monitor/bin/pip check

FROM python:${PYTHON}-slim
RUN groupadd --gid 10001 monitor \
    && useradd --uid 10001 --gid 10001 --home-dir /srv/monitor --shell /usr/sbin/nologin --create-home monitor
COPY --from=build /opt/monitor /opt/monitor
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
