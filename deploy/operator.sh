#!/bin/sh
# Runs an operator's command in the program that has it: what is about keys in the key service's, everything else in the
# identity service's. Run by the service `operator` of docker-compose.yml.
set -eu
case "${1-}" in
key) exec latchkey-keys "$@" ;;
*) exec latchkey-identity "$@" ;;
esac
