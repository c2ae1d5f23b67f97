# The app in a container, and every command: docker build -t invertavatar . && docker run -p 7860:7860 invertavatar
#
# DEVICE=cuda (the default) takes torch's usual wheel, which brings CUDA along: docker run --gpus all ...; it runs on a CPU
# too. DEVICE=cpu is some GB smaller and needs the address of PyTorch's index of CPU builds:
#   docker build --build-arg DEVICE=cpu --build-arg PIP_EXTRA_INDEX_URL=ADDRESS -t invertavatar:cpu .
# EXTRAS="batch cluster" adds what a batch on Ray needs to what one machine does:
#   docker run -v /data:/data invertavatar invertavatar batch /data/jobs.csv -o /data/results
FROM python:3.12-slim-bookworm

ARG DEVICE=cuda
ARG EXTRAS=batch
ARG PIP_EXTRA_INDEX_URL

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive

WORKDIR /app

# What MediaPipe links against; any of their versions serves.
COPY packages.txt .
# hadolint ignore=DL3008
RUN apt-get update \
    && xargs apt-get install --yes --no-install-recommends < packages.txt \
    && rm -rf /var/lib/apt/lists/*

# Requirements apart from the code, so that they are a layer that stays.
COPY requirements*.txt constraints.txt ./
RUN version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && case "$DEVICE" in \
        cuda) torch="torch==$version" ;; \
        cpu) torch="torch==$version+cpu" ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE." >&2; exit 1 ;; \
    esac \
    && set -- --requirement requirements.txt \
    && for extra in $EXTRAS; do set -- "$@" --requirement "requirements-$extra.txt"; done \
    && pip install --constraint constraints.txt "$torch" "$@"

COPY . .
RUN pip install --no-deps --editable . \
    && useradd --create-home --uid 1000 person \
    && install --directory --owner person outputs

USER 1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:7860/', timeout=8).read(1)"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
