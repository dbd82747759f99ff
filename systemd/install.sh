#!/usr/bin/env bash
# Install or upgrade the gateway as a systemd service. Safe to run again: the configuration and
# the data stay as they are.
#
#   sudo systemd/install.sh [--socket] [--files-only]
#
#   --socket      let systemd listen (see sensor-gateway.socket), so that restarts refuse nobody
#   --files-only  only put the files in place, below $DESTDIR: no venv, no user, no systemctl
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=${DESTDIR:-}
python=${PYTHON:-python3}
config=$root/etc/sensor-gateway/gateway.toml
venv=$root/opt/sensor-gateway/venv
units=$root/etc/systemd/system
socket=no
files_only=no

fail() {
  echo "error: $*" >&2
  exit 1
}

read_options() {
  for option in "$@"; do
    case $option in
      --socket) socket=yes ;;
      --files-only) files_only=yes ;;
      *) fail "unknown option $option: there are --socket and --files-only" ;;
    esac
  done
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "run this as root: sudo $0"
  [ -d /run/systemd/system ] || fail "systemd does not run on this machine"
  command -v "$python" >/dev/null || fail "$python was not found: apt-get install python3 python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: 3.11 or newer is needed (name another with PYTHON=)"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv is missing: apt-get install python3-venv"
}

install_program() {
  echo "Installing the program into $venv …"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --upgrade "$source_dir"
  ln -sfn "$venv/bin/gateway" /usr/local/bin/gateway
}

install_files() {
  install -D -m 644 "$source_dir/systemd/sensor-gateway.service" "$units/sensor-gateway.service"
  install -D -m 644 "$source_dir/systemd/sensor-gateway.socket" "$units/sensor-gateway.socket"
  install -D -m 644 "$source_dir/systemd/sensor-gateway.sysusers" \
    "$root/etc/sysusers.d/sensor-gateway.conf"
  if [ -f "$source_dir/docs/operations.md" ]; then
    install -D -m 644 "$source_dir/docs/operations.md" "$root/opt/sensor-gateway/docs/operations.md"
  fi
  if [ -e "$config" ]; then
    echo "Keeping $config"
    install -m 644 "$source_dir/config/gateway.toml" "$config.new"
    configure "$config.new"
    cmp -s "$config" "$config.new" && rm "$config.new"
    [ ! -e "$config.new" ] || echo "The new defaults are in $config.new, to compare"
  else
    echo "Writing $config"
    install -D -m 644 "$source_dir/config/gateway.toml" "$config"
    configure "$config"
  fi
}

configure() {
  sed -i 's|^data_dir = .*|data_dir = "/var/lib/sensor-gateway"|' "$1"
}

start() {
  systemd-sysusers /etc/sysusers.d/sensor-gateway.conf
  systemctl daemon-reload
  if [ "$socket" = yes ]; then
    systemctl stop sensor-gateway.service 2>/dev/null || true
    systemctl enable --now sensor-gateway.socket
  fi
  systemctl enable sensor-gateway.service
  systemctl restart sensor-gateway.service
  systemctl --no-pager --lines=5 status sensor-gateway.service
  echo
  echo "Next: gateway device add ID --config $config"
}

read_options "$@"
if [ "$files_only" = yes ]; then
  install_files
else
  [ -z "$root" ] || fail "DESTDIR goes with --files-only"
  check_machine
  install_program
  install_files
  start
fi
