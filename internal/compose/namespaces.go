package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// namespaces refuses what would take a task out of its own namespaces; the values that say what happens anyway pass.
func (c *converter) namespaces(field string, s *types.ServiceConfig) {
	for _, n := range []struct {
		name, value string
		pass        []string
		why         string
	}{
		{"ipc", s.Ipc, []string{"private", "shareable", "none"}, "tasks have an IPC namespace of their own"},
		{"pid", s.Pid, nil, "tasks have a process namespace of their own"},
		{"uts", s.Uts, []string{"private"}, "tasks have a host name of their own"},
		{"cgroup", s.Cgroup, []string{"private"}, "tasks have a control group of their own"},
		{"userns_mode", s.UserNSMode, []string{"host"}, "user namespaces are not mapped"},
		{"isolation", s.Isolation, []string{"default", "process"}, "it is for Windows"},
		{"runtime", s.Runtime, []string{"runc", "io.containerd.runc.v2"}, "tasks run under runc"},
	} {
		if n.value != "" && !slices.Contains(n.pass, n.value) {
			c.refuse(field+"."+n.name, n.value, "not supported: "+n.why)
		}
	}
	switch mode := s.NetworkMode; mode {
	case "", "bridge", "default":
		if mode != "" {
			c.warn("%s.network_mode %s is taken as the app's default network", field, mode)
		}
	case "none":
		c.refuse(field+".network_mode", mode, "not supported; put the service into a network with internal: true")
	case "host":
		c.refuse(field+".network_mode", mode, "not supported: tasks have a network of their own, so that two releases can run at once; publish ports instead")
	default:
		c.refuse(field+".network_mode", mode, "not supported; services reach each other by name")
	}
	for i, link := range s.Links {
		if target, alias, ok := strings.Cut(link, ":"); ok && target != alias {
			c.refuse(fmt.Sprintf("%s.links[%d]", field, i), link, "a name for one service only is not supported; give services."+target+" the alias under networks")
		}
	}
	if s.Platform != "" && !samePlatform(s.Platform, c.options.Platform) {
		c.refuse(field+".platform", s.Platform, "the nodes are "+c.options.Platform)
	}
}

// samePlatform compares os/arch; a variant ("linux/arm64/v8") and the other names of the architectures pass.
func samePlatform(a, b string) bool {
	norm := func(p string) string {
		parts := strings.Split(strings.ToLower(p), "/")
		if len(parts) == 1 {
			if parts[0] == "linux" {
				return b
			}
			parts = []string{"linux", parts[0]}
		}
		switch parts[1] {
		case "x86_64", "x86-64":
			parts[1] = "amd64"
		case "aarch64":
			parts[1] = "arm64"
		}
		return parts[0] + "/" + parts[1]
	}
	return norm(a) == norm(b)
}
