#!/bin/sh
# Starts the bus with the passwords in the files of /run/secrets, which nats.conf wants as variables: each
# is read as a value of that file, and unquoted one that begins with a digit is no text.
set -eu
for user in identity keys edge verifier member operator; do
    name=$(echo "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD
    export "$name='$(cat "/run/secrets/$user")'"
done
exec nats-server -c /etc/latchkey/nats-compose.conf
