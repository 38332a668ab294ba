package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// expect compares what commands print in the first task of a service.
func (a *App) expect(service string, want map[string]string) {
	a.t.Helper()
	for command, expected := range want {
		if got := a.Shell(service, command); got != expected {
			a.t.Errorf("%s: %q gives %q, expected %q", service, command, got, expected)
		}
	}
}

// Attributes of the Compose file, proven from inside the container.
func TestAttributes(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	bind := t.TempDir()
	if err := os.WriteFile(filepath.Join(bind, "file"), []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.File(".env", "FROM_DOTENV=dotenv\n")
	a.File("web.env", "FROM_FILE=file\nOVERRIDDEN=file\n")
	a.File("app.conf", "configured\n")
	a.File("password", "hunter2")
	a.File("parent/compose.yaml", "services:\n  base:\n    image: {registry}/base\n    environment: {FROM_PARENT: parent}\n")
	a.File("included.yaml", "services:\n  included:\n    image: {registry}/base\n    command: [sleep, \"1000\"]\n    init: true\n    x-ikada: {strategy: {monitor: 300ms}}\n")
	a.Compose(`
include: [included.yaml]
services:
  box:
    extends: {file: parent/compose.yaml, service: base}
    command: [sh, -c, "exec sleep 1000"]
    environment:
      PLAIN: plain
      OVERRIDDEN: environment
      INTERPOLATED: ${FROM_DOTENV}-${UNSET:-default}
      DOLLAR: $$HOME
    env_file: [web.env]
    user: worker
    group_add: ["777"]
    working_dir: /data
    hostname: box-host
    read_only: true
    tmpfs: [/scratch]
    init: true
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
    ulimits: {nofile: {soft: 1234, hard: 2345}}
    sysctls: {net.ipv4.ip_local_port_range: "20000 21000"}
    shm_size: 32m
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 77
    extra_hosts: ["other.example:10.9.8.7"]
    volumes:
      - ` + bind + `:/bound:ro
      - type: tmpfs
        target: /sized
        tmpfs: {size: 1048576, mode: 0o1777}
      - data:/data
    configs: [{source: conf, target: /etc/app.conf, mode: 0440, uid: "1234"}]
    secrets: [{source: password, mode: 0400, uid: "1234"}]
    labels: {tier: box}
    x-ikada: {strategy: {monitor: 300ms}}
  unused:
    image: {registry}/base
    profiles: [debug]
configs:
  conf: {file: app.conf}
secrets:
  password: {file: password}
volumes:
  data: {}
`)
	a.Deploy()
	a.expect("box", map[string]string{
		"echo $PLAIN $OVERRIDDEN $FROM_FILE $FROM_PARENT": "plain environment file parent",
		"echo $INTERPOLATED":                              "dotenv-default",
		"echo \"$DOLLAR\"":                                "$HOME",
		"id":                                              "uid=1234(worker) gid=1235(worker) groups=777(extra),1235(worker)",
		"pwd; hostname":                                   "/data\nbox-host",
		"touch /file 2>/dev/null || echo read-only":                            "read-only",
		"touch /scratch/file && echo ok":                                       "ok",
		"cat /proc/1/comm":                                                     ".ikada-init",
		"grep CapBnd /proc/self/status | cut -f2":                              "0000000000000400",
		"grep NoNewPrivs /proc/self/status | cut -f2":                          "1",
		"grep Seccomp: /proc/self/status | cut -f2":                            "2",
		"ulimit -Sn; ulimit -Hn":                                               "1234\n2345",
		"cat /proc/sys/net/ipv4/ip_local_port_range":                           "20000\t21000",
		"df -k /dev/shm | tail -1 | awk '{print $2}'":                          "32768",
		"df -k /sized | tail -1 | awk '{print $2}'":                            "1024",
		"cat /bound/file":                                                      "of the host",
		"touch /bound/other 2>/dev/null || echo read-only":                     "read-only",
		"cat /etc/app.conf; ls -ln /etc/app.conf | cut -c1-10":                 "configured\n-r--r-----",
		"cat /run/secrets/password; ls -ln /run/secrets/password | cut -c1-10": "hunter2-r--------",
		"cat /data/seed":                                                       "from the image",
		"grep other.example /etc/hosts | cut -f1":                              "10.9.8.7",
	})
	if mounts := a.Shell("box", "grep /run/secrets /proc/mounts"); !strings.Contains(mounts, "tmpfs") {
		t.Errorf("the secret lies on %q", mounts)
	}
	for _, c := range []struct{ controller, v1, v2, want string }{
		{"memory", "memory.limit_in_bytes", "memory.max", "67108864"},
		{"pids", "pids.max", "pids.max", "77"},
		{"cpu", "cpu.cfs_quota_us", "cpu.max", "50000"},
	} {
		if got := a.cgroup("box", c.controller, c.v1, c.v2); got != c.want {
			t.Errorf("limit of %s is %s, expected %s", c.controller, got, c.want)
		}
	}
	if n := len(a.Tasks("unused")); n != 0 {
		t.Errorf("a service of an inactive profile has %d tasks", n)
	}
	if n := len(a.Tasks("included")); n != 1 {
		t.Errorf("the included service has %d tasks", n)
	}
}

// cgroup reads a limit of the first task of a service, on cgroup v1 or v2; of several values the first.
func (a *App) cgroup(service, controller, v1, v2 string) string {
	a.t.Helper()
	pid := a.hostPID(a.Tasks(service)[0], "")
	lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		a.t.Fatal(err)
	}
	file := ""
	for line := range strings.Lines(string(lines)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case slices.Contains(strings.Split(f[1], ","), controller):
			file = filepath.Join("/sys/fs/cgroup", controller, f[2], v1)
		case f[1] == "" && file == "":
			file = filepath.Join("/sys/fs/cgroup", f[2], v2)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Fields(string(b))[0]
}
