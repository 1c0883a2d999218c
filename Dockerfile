# Images of the service (default) and of training.
#
#   docker build -t diffcdr .                                           service on CPU, without torch
#   docker build -t diffcdr-gpu --build-arg EXTRA=serve-gpu .           service with ONNX Runtime's CUDA provider
#   docker build -t diffcdr-ann --build-arg EXTRA=serve,ann .           service that can search by an item index
#   docker build -t diffcdr-train --target train .                      training
#
# Pin the base by digest for a build that repeats: --build-arg BASE=python:3.11-slim@sha256:…
# PIP_EXTRA_INDEX_URL is handed to pip: name PyTorch's CPU index there for a train image without CUDA. An index that
# wants a password belongs into a pip.conf of its own, which no layer keeps: --secret id=pip_conf,src=pip.conf
ARG BASE=python:3.11-slim

FROM ${BASE} AS build-base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL
RUN python -m venv /opt/diffcdr
WORKDIR /src
# Dependencies change seldom and are a layer of their own: the project is installed here without its code.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md

FROM build-base AS build-serve
ARG EXTRA=serve
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf /opt/diffcdr/bin/pip install --quiet --constraint constraints.txt ".[${EXTRA},client]"
COPY diffcdr diffcdr
COPY service service
COPY training training
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf /opt/diffcdr/bin/pip install --quiet --no-deps --force-reinstall . && /opt/diffcdr/bin/pip uninstall --quiet --yes pip setuptools

FROM build-base AS build-train
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf /opt/diffcdr/bin/pip install --quiet --constraint constraints.txt ".[train]"
COPY diffcdr diffcdr
COPY service service
COPY training training
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf /opt/diffcdr/bin/pip install --quiet --no-deps --force-reinstall . && /opt/diffcdr/bin/pip uninstall --quiet --yes pip setuptools

FROM ${BASE} AS runtime
ENV PATH=/opt/diffcdr/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin diffcdr \
    && install --directory --owner=diffcdr --group=diffcdr /bundles
# A named volume mounted here takes over the owner.
VOLUME /bundles
WORKDIR /bundles
USER 10001:10001
ENTRYPOINT ["diffcdr"]

FROM runtime AS train
COPY --from=build-train /opt/diffcdr /opt/diffcdr
CMD ["train", "--help"]

FROM runtime AS serve
COPY --from=build-serve /opt/diffcdr /opt/diffcdr
ENV DIFFCDR_BUNDLE=/bundles/current DIFFCDR_HOST=0.0.0.0 DIFFCDR_PORT=8000 DIFFCDR_LOG_FORMAT=json
EXPOSE 8000
# Ready, not only alive: what waits for this container waits until it can answer.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['DIFFCDR_PORT'] + '/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["serve"]
