# The image of the agent, the fleet controller and the kubectl plugin: Node and a bundle for each, on a base with glibc.
# `docker build .` builds the bundles for the target platform. DIST=prebuilt copies those that `npm run build` wrote to dist/.
# buildah 1.28 ignores the default of DIST: add --build-arg DIST=bundled.
ARG BASE=gcr.io/distroless/cc-debian12
ARG BUILDER=node:24-bookworm-slim
ARG DIST=bundled

FROM ${BUILDER} AS bundled
WORKDIR /src
COPY package.json package-lock.json tsconfig.json ./
RUN npm ci
COPY agent agent
COPY controller controller
COPY kubectl kubectl
COPY lib lib
COPY hack hack
RUN npm run build

FROM scratch AS prebuilt
COPY dist/node dist/agent.cjs dist/agent.cjs.map dist/controller.cjs dist/controller.cjs.map dist/kubectl.cjs dist/kubectl.cjs.map /src/dist/

FROM ${DIST} AS dist

FROM ${BASE}
COPY --from=dist /src/dist/node /usr/local/bin/node
COPY --from=dist /src/dist/*.cjs /src/dist/*.cjs.map /app/
LABEL org.opencontainers.image.title="gvisor-ready" \
      org.opencontainers.image.description="Proves that gVisor works on this node and labels the node" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0
# glibc returns freed memory to the node.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536
# Flags of V8; together they save 16 MiB on every node (docs/decisions/footprint.md):
#   no-opt, no-maglev, no-sparkplug: an agent works for a moment each ten minutes, so compiled code only costs memory
#   optimize-for-size: a small young generation, and less memory for caches
#   wasm-tiering-budget: WebAssembly keeps the code of its baseline compiler, so the pages of the optimizing one stay unmapped
#   bytecode-old-age: drops bytecode of functions that ran once
ENTRYPOINT ["/usr/local/bin/node", "--no-opt", "--no-maglev", "--no-sparkplug", "--optimize-for-size", "--wasm-tiering-budget=2000000000", "--bytecode-old-age=1", "/app/agent.cjs"]
