# syntax=docker/dockerfile:1

# The dispatcher: one program without FFmpeg, and the certificates it needs.
#
#   docker build -f docker/dispatcher.Dockerfile -t touchline/dispatcher .
#
# Digests as in worker.Dockerfile.
ARG DEBIAN=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
ARG RUST=rust:1.95-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0

FROM ${RUST} AS build
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends gcc libc6-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
  cargo build --release --locked -p dispatcher \
  && install -D -m 755 target/release/dispatcher /out/dispatcher

FROM ${DEBIAN}
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin touchline
COPY --from=build /out/dispatcher /usr/local/bin/dispatcher
RUN dispatcher --version
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["dispatcher"]
CMD ["serve"]
