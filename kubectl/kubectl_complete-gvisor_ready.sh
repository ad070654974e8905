#!/bin/sh
# kubectl runs this from the PATH to complete arguments of "kubectl gvisor-ready".
exec kubectl-gvisor_ready __complete "$@"
