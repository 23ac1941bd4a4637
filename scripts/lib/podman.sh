# Rootless podman for a bench, at its fastest: sourced by the benches, which have image.tar in their directory.
# Without a session of systemd's there is no cgroup for it to ask for, and no journal.
podman=(podman --cgroup-manager cgroupfs --events-backend none)
# Left alone it may copy whole images (vfs), and some distributions' crun is too old for their kernel: the first that runs.
podman_choices=("--storage-driver overlay" "--storage-driver overlay --runtime runc" "--runtime runc" "")

podman_runs() { "${podman[@]}" run --rm "$@" bench:latest true >podman.log 2>&1; }

choose_podman() {
    local choice plain=("${podman[@]}")
    for choice in "${podman_choices[@]}"; do
        read -ra words <<<"$choice"
        podman=("${plain[@]}" "${words[@]}")
        "${podman[@]}" import image.tar bench:latest >podman.log 2>&1 && podman_runs --network none && return
        end_podman
    done
    return 1
}

# It keeps a process that holds its user namespace; this one nobody else uses.
end_podman() {
    local pause=$XDG_RUNTIME_DIR/libpod/tmp/pause.pid
    podman unshare rm -rf "$XDG_DATA_HOME/containers" 2>/dev/null || true
    if [ -e "$pause" ]; then kill "$(cat "$pause")" 2>/dev/null || true; fi
    rm -rf "$XDG_RUNTIME_DIR"/{libpod,containers}
}
trap end_podman EXIT
