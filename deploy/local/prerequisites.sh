#!/usr/bin/env bash
# Checks Python 3.11, Java 17, Maven and libGL; on Debian and Ubuntu installs what is missing of the latter three, where that needs no password.
set -euo pipefail

other_way="or start the stack in containers (docker compose -f deploy/compose.yaml up) and set TAGSTREAM_KAFKA_BOOTSTRAP_SERVERS"

if ! python3.11 --version >/dev/null 2>&1; then
    echo "Python 3.11 is needed and there is no working python3.11 on the PATH: install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv; elsewhere pyenv install 3.11)" >&2
    exit 1
fi

missing=()
# Kafka served by somebody else needs no Java here.
if [ -z "${TAGSTREAM_KAFKA_BOOTSTRAP_SERVERS:-}" ]; then
    java_release=$(java -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -1) || true
    if [ "${java_release:-0}" -lt 17 ]; then missing+=(openjdk-17-jre-headless); fi
    if ! command -v mvn >/dev/null; then missing+=(maven); fi
fi
# opencv-python is linked against libGL, which a machine without a display may lack.
if [ "$(uname -s)" = Linux ] && ! PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libGL\.so\.1'; then missing+=(libgl1 libglib2.0-0); fi
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

needs="Java 17 and Maven are needed for Kafka, libGL for OpenCV; missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "$needs; install them, $other_way" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    root=()
elif sudo -n true 2>/dev/null; then
    root=(sudo -n)
else
    echo "$needs; run: sudo apt-get install ${missing[*]} ($other_way)" >&2
    exit 1
fi

echo "installing with apt-get, because Kafka (Java, Maven) or OpenCV (libGL) needs it: ${missing[*]}" >&2
"${root[@]}" apt-get update -q
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
