# The image of every Headrace role and job: `docker compose build`, or `docker build -t headrace .`.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PATH=/opt/headrace/bin:$PATH
# Compiles the core (hatch_build.py); the final image has no compiler.
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/headrace
WORKDIR /src
# First what seldom changes, so that a change of the code reuses this layer.
COPY requirements-runtime.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-runtime.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY events ./events
COPY orchestrator ./orchestrator
COPY projections ./projections
COPY schemas ./schemas
RUN HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes ast-serialize editables hatchling librt mypy setuptools trove-classifiers \
    && headrace version | grep -q compiled

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADRACE_HTTP=0.0.0.0:8080 \
    HEADRACE_LOG=json
USER headrace
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/live', timeout=4)"]
ENTRYPOINT ["headrace"]
CMD ["--help"]
