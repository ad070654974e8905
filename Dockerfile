# The image of the agent, the fleet controller, the canary of egress and the kubectl plugin: Node and a bundle for each, on a base
# with glibc.
# `docker build .` builds the bundles for the target platform.
ARG BASE=gcr.io/distroless/cc-debian12
ARG BUILDER=node:24-bookworm-slim

FROM ${BASE} AS image
LABEL org.opencontainers.image.title="gvisor-ready" \
      org.opencontainers.image.description="Proves that gVisor works on this node and labels the node" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0
# glibc returns freed memory to the node; a buffer of 8 KiB or more has a mapping of its own.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 MALLOC_MMAP_THRESHOLD_=8192 MALLOC_TOP_PAD_=0
# Flags of Node; together they save 20 MiB on every node (docs/decisions/footprint.md):
#   no-opt, no-maglev, no-sparkplug: an agent works for a moment each ten minutes, so compiled code only costs memory
#   optimize-for-size: a small young generation, and less memory for caches
#   wasm-tiering-budget: WebAssembly keeps the code of its baseline compiler, so the pages of the optimizing one stay unmapped
#   bytecode-old-age: drops bytecode of functions that ran once
#   compact-on-every-full-gc: gives the node the pages that a collection emptied
#   no-node-snapshot: reads no image of a started Node, which saves 5 MiB and costs 0.1 s
ENTRYPOINT ["/usr/local/bin/node", "--no-opt", "--no-maglev", "--no-sparkplug", "--optimize-for-size", "--wasm-tiering-budget=2000000000", "--bytecode-old-age=1", "--compact-on-every-full-gc", "--no-node-snapshot", "/app/agent.cjs"]

# `docker build --target prebuilt .` takes the bundles that `npm run build` wrote. Before the others: buildah builds stages in order.
FROM image AS prebuilt
COPY dist/node /usr/local/bin/node
COPY dist/*.cjs dist/*.cjs.map /app/

FROM ${BUILDER} AS bundled
WORKDIR /src
COPY package.json package-lock.json tsconfig.json ./
RUN npm ci
COPY agent agent
COPY controller controller
COPY egress egress
COPY kubectl kubectl
COPY lib lib
COPY hack hack
RUN npm run build

FROM image
COPY --from=bundled /src/dist/node /usr/local/bin/node
COPY --from=bundled /src/dist/*.cjs /src/dist/*.cjs.map /app/
