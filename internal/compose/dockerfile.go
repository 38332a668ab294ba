package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/ikada/ikada/api"
)

const dockerfileName = "Dockerfile"

// fromDockerfile makes an app of a directory that holds a Dockerfile and no Compose file: one service, named as the
// app, built from the directory. What reaches it follows from the last stage's EXPOSE:
//
//   - port 80 gets the route "/" on the shared HTTP ports, which are ikada's own;
//   - every other TCP port is published on the same port of the node, but for 443, which is ikada's own too;
//   - UDP ports, and no EXPOSE at all, bring a warning.
//
// Health checks use the first published port, else the first exposed one.
func fromDockerfile(o Options) (*Project, error) {
	app, err := o.appName()
	if err != nil {
		return nil, err
	}
	ports, warnings, err := exposed(filepath.Join(o.Dir, dockerfileName))
	if err != nil {
		return nil, err
	}
	strategy := api.Strategy{Parallelism: defaultParallelism}
	s := api.ServiceSpec{Replicas: 1, Update: strategy, Rollback: strategy, Expose: ports}
	for _, p := range ports {
		switch p {
		case 80:
			s.Routes = append(s.Routes, api.RouteSpec{Path: "/", Port: p})
		case 443:
			warnings = append(warnings, "EXPOSE 443 is not published: ikada itself serves HTTPS; expose a plain HTTP port")
		default:
			s.Ports = append(s.Ports, api.PortSpec{Published: p, Target: p})
		}
	}
	if len(ports) == 0 {
		warnings = append(warnings, "the Dockerfile has no EXPOSE: nothing is published")
	}
	spec := api.AppSpec{
		App:      app,
		Env:      o.Env,
		Services: map[string]api.ServiceSpec{app: s},
		Networks: map[string]api.NetworkSpec{api.DefaultNetwork: {}},
	}
	builds := map[string]api.BuildSpec{app: {Context: o.Dir, Dockerfile: dockerfileName}}
	if err := validate(spec, builds, func(f string) string { return f }); err != nil {
		return nil, err
	}
	return &Project{Dir: o.Dir, Spec: spec, Builds: builds, Warnings: warnings}, nil
}

// exposed gives the TCP ports that the Dockerfile's last stage exposes, in its order; those of stages that it is
// based on are counted.
func exposed(file string) ([]uint16, []string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, api.Errorf(api.Invalid, "read Dockerfile: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > MaxFileBytes {
		return nil, nil, tooLarge(dockerfileName, info.Size())
	}
	parsed, err := parser.Parse(f)
	if err != nil {
		return nil, nil, &api.Error{Kind: api.Invalid, Field: dockerfileName, Message: err.Error()}
	}
	stages := map[string][]string{} // by name and by number
	var current []string
	keys := []string{}
	count := 0
	keep := func() {
		for _, k := range keys {
			stages[k] = current
		}
	}
	for _, n := range parsed.AST.Children {
		switch args := arguments(n); strings.ToLower(n.Value) {
		case "from":
			keep()
			current, keys = nil, []string{strconv.Itoa(count)}
			count++
			if len(args) > 0 {
				current = slices.Clone(stages[strings.ToLower(args[0])])
			}
			if len(args) == 3 && strings.EqualFold(args[1], "as") {
				keys = append(keys, strings.ToLower(args[2]))
			}
		case "expose":
			current = append(current, args...)
		}
	}
	if count == 0 {
		return nil, nil, api.FieldError(dockerfileName, "", "at least one FROM")
	}
	ports, warnings := tcpPorts(current)
	return ports, warnings, nil
}

func arguments(n *parser.Node) []string {
	var out []string
	for a := n.Next; a != nil; a = a.Next {
		out = append(out, a.Value)
	}
	return out
}

func tcpPorts(list []string) (ports []uint16, warnings []string) {
	for _, e := range list {
		text, proto, _ := strings.Cut(strings.ToLower(e), "/")
		if proto != "" && proto != "tcp" {
			warnings = append(warnings, fmt.Sprintf("EXPOSE %s is not published: the balancer publishes TCP ports only", e))
			continue
		}
		first, last, isRange := strings.Cut(text, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || from == 0 || to < from || to-from > maxPorts {
			warnings = append(warnings, fmt.Sprintf("EXPOSE %s is not published: it is no port that is known before the build", e))
			continue
		}
		for p := from; p <= to; p++ {
			if !slices.Contains(ports, uint16(p)) {
				ports = append(ports, uint16(p))
			}
		}
	}
	return ports, warnings
}
