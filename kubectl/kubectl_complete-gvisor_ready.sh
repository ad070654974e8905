#!/bin/sh
# kubectl runs this, found on the PATH as kubectl_complete-gvisor_ready, to complete the words after "kubectl gvisor-ready".
exec kubectl-gvisor_ready __complete "$@"
