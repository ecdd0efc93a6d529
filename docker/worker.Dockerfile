# syntax=docker/dockerfile:1

# The worker with an FFmpeg of its own. No CUDA image: FFmpeg talks to the driver's libraries, which the NVIDIA container
# toolkit brings in at run time, and each gigabyte less is seconds off the start of a machine that is paid for.
#
#   docker build -f docker/worker.Dockerfile -t touchline/worker .
#
# Base images are named by digest (of all architectures), so that a tag that moves changes nothing here unseen. Whoever wants
# a newer one asks `docker buildx imagetools inspect debian:trixie-slim` and writes it down, here and in the other file.
ARG DEBIAN=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
ARG RUST=rust:1.95-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0

# FFmpeg: a release, by the signature of its makers.
FROM ${DEBIAN} AS ffmpeg
ARG FFMPEG=8.1.3
ARG FFMPEG_KEY=FCF986EA15E6E293A5644F10B4322F04D67658D8
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Versions are not pinned: Debian removes a package when it has mended it, and a pin would then break the build exactly
# when it must not be repeated. The release and its signatures are what is trusted.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends \
     ca-certificates clang curl gcc gnupg libc6-dev make nasm pkg-config xz-utils \
     libdav1d-dev libffmpeg-nvenc-dev libx264-dev libx265-dev libzimg-dev zlib1g-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /ffmpeg
RUN curl -fsSLO "https://ffmpeg.org/releases/ffmpeg-${FFMPEG}.tar.xz" \
  && curl -fsSLO "https://ffmpeg.org/releases/ffmpeg-${FFMPEG}.tar.xz.asc" \
  && curl -fsSL https://ffmpeg.org/ffmpeg-devel.asc | gpg --batch --import \
  && gpg --batch --status-fd 1 --verify "ffmpeg-${FFMPEG}.tar.xz.asc" "ffmpeg-${FFMPEG}.tar.xz" \
     | grep -q "VALIDSIG ${FFMPEG_KEY} " \
  && tar --strip-components 1 -xf "ffmpeg-${FFMPEG}.tar.xz"
COPY docker/ffmpeg.options /ffmpeg.options
RUN grep -v -e '^#' -e '^$' /ffmpeg.options >options \
  && mapfile -t options <options \
  && ./configure --prefix=/opt/ffmpeg "${options[@]}" \
  && make -j "$(nproc)" install \
  && rm -rf /opt/ffmpeg/share

# The worker.
FROM ${RUST} AS build
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends \
     clang gcc libc6-dev libclang-dev pkg-config libdav1d-dev libx264-dev libx265-dev libzimg-dev \
  && rm -rf /var/lib/apt/lists/*
COPY --from=ffmpeg /opt/ffmpeg /opt/ffmpeg
ENV PKG_CONFIG_PATH=/opt/ffmpeg/lib/pkgconfig LD_LIBRARY_PATH=/opt/ffmpeg/lib
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
  cargo build --release --locked -p worker \
  && install -D -m 755 target/release/worker /out/worker

# What runs.
FROM ${DEBIAN}
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends \
     ca-certificates libdav1d7 libx264-164 libx265-215 libzimg2 zlib1g \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin touchline
COPY --from=ffmpeg /opt/ffmpeg/lib/ /usr/local/lib/
COPY --from=build /out/worker /usr/local/bin/worker
RUN ldconfig && worker --version
# Encoder, decoder and CUDA libraries of the driver; ECS sets NVIDIA_VISIBLE_DEVICES to the task's GPU.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
USER 10001:10001
EXPOSE 9090
# It writes nothing to disk: runs with a read-only root.
ENTRYPOINT ["worker"]
CMD ["run", "--listen", "0.0.0.0:9090"]
