# syntax=docker/dockerfile:1

# The dispatcher: one program without FFmpeg, and the certificates it needs.
#
#   docker build -f docker/dispatcher.Dockerfile -t touchline/dispatcher .
#
# Digests for production as in worker.Dockerfile.
ARG DEBIAN=debian:trixie-slim
ARG RUST=rust:1.95-slim-trixie

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
