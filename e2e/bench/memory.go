package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// usage is the memory of one side's processes, in bytes of proportional set size: pages that several processes share
// count once in the sum.
type usage struct {
	daemons int64 // all that runs without a container
	shims   int64 // one process a container
	named   map[string]int64
}

// memoryOf sums up the processes whose command line names the directory; that is how daemons and shims of one
// instance are told from everything else on the machine.
func memoryOf(dir string) (usage, error) {
	u := usage{named: map[string]int64{}}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return u, err
	}
	for _, proc := range procs {
		cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err != nil || proc == "/proc/"+strconv.Itoa(os.Getpid()) || !bytes.Contains(cmdline, []byte(dir+"/")) && !bytes.Contains(cmdline, []byte(dir+"\x00")) {
			continue // ended meanwhile, or somebody else's
		}
		args := strings.Split(string(cmdline), "\x00")
		name := filepath.Base(args[0])
		switch {
		case name == "unshare" || name == "tini": // ours, to keep Docker apart
			continue
		case name == "ikada" && len(args) > 1:
			name += " " + args[1]
		}
		pss, err := proportional(filepath.Join(proc, "smaps_rollup"))
		if err != nil {
			continue // ended meanwhile
		}
		u.named[name] += pss
		if strings.Contains(name, "shim") {
			u.shims += pss
		} else {
			u.daemons += pss
		}
	}
	if u.daemons == 0 {
		return u, fmt.Errorf("no process names %s", dir)
	}
	return u, nil
}

// names gives each program's share.
func (u usage) names() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(u.named)) {
		parts = append(parts, name+" "+mib(u.named[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// proportional reads the Pss line of proc_pid_smaps_rollup(5), in bytes.
func proportional(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no Pss", path)
}
