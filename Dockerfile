# The agent's image: Node, one bundled file, and a base with a C library, coreutils' `cat` and `sleep`
# (the proof's container runs them). `npm run build` writes dist/; BASE may be any small glibc image.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY dist/node /usr/local/bin/node
COPY dist/agent.mjs dist/agent.mjs.map /app/
LABEL org.opencontainers.image.title="gvisor-ready" \
      org.opencontainers.image.description="Proves that gVisor works on this node and labels the node" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0
# An agent that works for a moment each ten minutes needs no code compiled for speed: it costs 10 MiB on every node.
ENTRYPOINT ["/usr/local/bin/node", "--no-opt", "--no-maglev", "--no-sparkplug", "--optimize-for-size", "--max-semi-space-size=2", "--max-old-space-size=96", "/app/agent.mjs"]
