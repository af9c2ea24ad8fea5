#!/bin/sh
# Makes the cluster's secrets at its first start and lays out for each service the files that it may
# read. Run by the service `secrets` of docker-compose.yml; run again, it changes no secret.
#
# /secrets/master is mounted here only; /secrets/NAME is the volume of the service NAME.
set -eu
umask 077
cd /secrets

# made NAME: the secret with this name, 64 hexadecimal digits, made if there is none.
made() {
    file="master/$1"
    if [ ! -s "$file" ]; then
        head -c 32 /dev/urandom | sha256sum | cut -c 1-64 >"$file.new"
        mv "$file.new" "$file"
    fi
    cat "$file"
}

# give USER SERVICE FILE TEXT: a file that only USER may read, in the volume of SERVICE.
give() {
    printf '%s\n' "$4" >"$2/$3.new"
    chmod 400 "$2/$3.new"
    chown "$1:$1" "$2/$3.new"
    mv -f "$2/$3.new" "$2/$3"
}

readonly LATCHKEY=10001 POSTGRES=999
chmod 700 master
for service in postgres nats identity keys edge operator; do
    chmod 755 "$service"
done

superuser=$(made postgres)
identity=$(made postgres-identity)
keys=$(made postgres-keys)
give $POSTGRES postgres superuser "$superuser"
give $POSTGRES postgres identity "$identity"
give $POSTGRES postgres keys "$keys"
give $LATCHKEY identity database-url "postgres://identity:$identity@postgres/identity"
give $LATCHKEY keys database-url "postgres://keys:$keys@postgres/keys"

for user in identity keys edge verifier member operator; do
    password=$(made "nats-$user")
    give $LATCHKEY nats "$user" "$password"
    if [ -d "$user" ]; then give $LATCHKEY "$user" nats "$password"; fi
done

give $LATCHKEY identity secret-key "$(made secret-key)"
give $LATCHKEY identity audit-key "$(made audit-key-identity)"
give $LATCHKEY keys audit-key "$(made audit-key-keys)"
echo "The secrets are there."
