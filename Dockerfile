# The image of the agent, the fleet controller and the uninstall: Node and a bundled file for each on a base with a C library. BASE may be any small glibc image.
# `docker build .` bundles the agent itself, for the platform it builds for (buildah 1.28 must be told: --build-arg
# DIST=bundled); with DIST=prebuilt it takes what `npm run build` has written to dist/.
ARG BASE=debian:bookworm-slim
ARG BUILDER=node:24-bookworm-slim
ARG DIST=bundled

FROM ${BUILDER} AS bundled
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci
COPY agent agent
COPY fleet fleet
COPY kubectl kubectl
COPY hack hack
COPY cluster cluster
RUN npm run build

FROM scratch AS prebuilt
COPY dist/node dist/agent.cjs dist/agent.cjs.map dist/fleet.cjs dist/fleet.cjs.map dist/kubectl.cjs dist/kubectl.cjs.map /src/dist/

FROM ${DIST} AS dist

FROM ${BASE}
COPY --from=dist /src/dist/node /usr/local/bin/node
COPY --from=dist /src/dist/*.cjs /src/dist/*.cjs.map /app/
LABEL org.opencontainers.image.title="gvisor-ready" \
      org.opencontainers.image.description="Proves that gVisor works on this node and labels the node" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0
# What is freed goes back to the node: with glibc's own thresholds an agent keeps 13 MiB of it.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 MALLOC_TOP_PAD_=0 MALLOC_MMAP_THRESHOLD_=32768
# An agent that works for a moment each ten minutes needs no code compiled for speed, which costs 14 MiB on every node, no
# bytecode of functions that it ran once (2 MiB), no time zones (0.8 MiB; all of its times are UTC), and no record of the types
# that a function saw before that ran 200 times (0.5 MiB). Each full collection compacts, so that an hour leaves no holes.
ENTRYPOINT ["/usr/local/bin/node", "--no-opt", "--no-maglev", "--no-sparkplug", "--optimize-for-size", "--wasm-tiering-budget=2000000000", "--bytecode-old-age=1", "--memory-reducer-gc-count=6", "--max-semi-space-size=1", "--max-old-space-size=96", "--compact-on-every-full-gc", "--no-icu-timezone-data", "--invocation-count-for-feedback-allocation=200", "/app/agent.cjs"]
