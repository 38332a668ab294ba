package rehearse_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/place"
	"github.com/ikada/ikada/internal/plan/rehearse"
)

var update = flag.Bool("update", false, "write what the scenarios print into their files")

var (
	shop  = api.EnvRef{App: "shop", Env: "production"}
	began = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// setting makes a world in which release 1 runs and release 2 is to be deployed; was nil: there is none yet.
func setting(was, is map[string]api.ServiceSpec, nodes ...string) rehearse.Setting {
	s := rehearse.Setting{
		Now: began, Env: api.Environment{EnvRef: shop, LastRelease: 1, LastDeployment: 2}, Deployment: 2,
		Releases: map[uint64]*api.Release{}, Statuses: map[string]*api.TaskStatus{}, Lease: 10 * time.Second,
	}
	for _, name := range nodes {
		s.Nodes = append(s.Nodes, place.Node{Node: api.Node{Name: name, Hostname: name, Arch: "amd64", OS: "linux",
			CPUMilli: 4000, Memory: 4 << 30}, Services: map[string]int{}})
	}
	add := func(n uint64, services map[string]api.ServiceSpec) {
		spec := api.AppSpec{App: shop.App, Env: shop.Env, Services: services}
		s.Releases[n] = &api.Release{EnvRef: shop, Number: n, Spec: spec, Hash: api.HashSpec(spec)}
	}
	if was == nil {
		add(1, is)
		s.Deployment = 1
		s.Deployments = []*api.Deployment{{EnvRef: shop, Number: 1, Kind: api.KindDeploy, To: 1, State: api.DeployQueued, CreatedAt: began}}
		return s
	}
	add(1, was)
	add(2, is)
	s.Env.Release, s.Env.LastRelease = 1, 2
	s.Deployments = []*api.Deployment{{EnvRef: shop, Number: 2, Kind: api.KindDeploy, From: 1, To: 2, State: api.DeployQueued, CreatedAt: began}}
	made := began.Add(-time.Hour)
	i := 0
	for name, spec := range was {
		for slot := 1; slot <= spec.Replicas; slot++ {
			id := fmt.Sprintf("%s%d", name, slot)
			s.Tasks = append(s.Tasks, &api.Task{ID: id, EnvRef: shop, Service: name, Slot: slot, Release: 1,
				Hash: api.HashService(s.Releases[1].Spec, name), Node: nodes[i%len(nodes)], Desired: api.WantRunning, CreatedAt: made, DesiredAt: made})
			s.Statuses[id] = &api.TaskStatus{Task: id, Node: nodes[i%len(nodes)], State: api.TaskReady, Address: "10.0.0.1",
				StartedAt: made, ReadyAt: made.Add(1500 * time.Millisecond)}
			i++
		}
	}
	return s
}

func web(version string, replicas int, change ...func(*api.ServiceSpec)) map[string]api.ServiceSpec {
	spec := api.ServiceSpec{Image: "registry.test/web@sha256:" + strings.Repeat(version, 64)[:64], Replicas: replicas,
		Ports:  []api.PortSpec{{Published: 8080, Target: 80}},
		Update: api.Strategy{Parallelism: 1}, Rollback: api.Strategy{Parallelism: 1}}
	for _, f := range change {
		f(&spec)
	}
	return map[string]api.ServiceSpec{"web": spec.WithDefaults()}
}

func order(o string) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Update.Order, s.Rollback.Order = o, o }
}

// scenarios are worlds with what is done and asked in them.
func scenarios() map[string]func() (rehearse.Setting, []api.Hazard) {
	lose := func(name string, step int) []api.Hazard {
		return []api.Hazard{{Kind: api.HazardLose, Name: name, Step: step}}
	}
	after := func(d time.Duration) *api.Duration { v := api.Duration(d); return &v }
	return map[string]func() (rehearse.Setting, []api.Hazard){
		"first": func() (rehearse.Setting, []api.Hazard) {
			return setting(nil, web("1", 2), "n1"), []api.Hazard{{Kind: api.HazardFail, Name: "web"}}
		},
		"rolling": func() (rehearse.Setting, []api.Hazard) {
			return setting(web("1", 3), web("2", 3), "n1", "n2"), []api.Hazard{{Kind: api.HazardFail, Name: "web"}, {Kind: api.HazardCrash, Name: "web"},
				{Kind: api.HazardCrash, Name: "web", At: after(2 * time.Second)}}
		},
		"stop-first": func() (rehearse.Setting, []api.Hazard) {
			return setting(web("1", 1, order(api.StopFirst)), web("2", 1, order(api.StopFirst)), "n1"), nil
		},
		"blue-green": func() (rehearse.Setting, []api.Hazard) {
			kind := func(s *api.ServiceSpec) { s.Update.Kind = api.BlueGreen }
			return setting(web("1", 2, kind), web("2", 2, kind), "n1"), nil
		},
		"canary": func() (rehearse.Setting, []api.Hazard) {
			kind := func(s *api.ServiceSpec) {
				s.Update.Kind = api.Canary
				s.Update.Steps = []api.CanaryStep{{Weight: 5, Pause: api.Duration(time.Minute)}, {Weight: 50, Hold: true}}
				s.Update.Match = &api.RequestMatch{Headers: map[string]string{"x-canary": "1"}}
			}
			return setting(web("1", 4, kind), web("2", 4, kind), "n1"), nil
		},
		"release-command": func() (rehearse.Setting, []api.Hazard) {
			command := func(s *api.ServiceSpec) {
				s.Release = &api.ReleaseCommand{Command: api.Command{Command: []string{"migrate"}}}
			}
			return setting(web("1", 1), web("2", 1, command), "n1"), lose("n1", 1)
		},
		"no-capacity": func() (rehearse.Setting, []api.Hazard) {
			big := func(s *api.ServiceSpec) { s.Resources.ReserveMemory = 3 << 30 }
			return setting(web("1", 2, big), web("2", 2, big), "n1", "n2"), nil
		},
		"constraint": func() (rehearse.Setting, []api.Hazard) {
			ssd := func(s *api.ServiceSpec) { s.Placement.Constraints = []string{"node.labels.disk == ssd"} }
			return setting(web("1", 1), web("2", 1, ssd), "n1", "n2"), nil
		},
		"lose-node": func() (rehearse.Setting, []api.Hazard) {
			return setting(web("1", 3), web("2", 3), "n1", "n2", "n3"), []api.Hazard{{Kind: api.HazardLose, Name: "n2"}}
		},
		"lose-only-node": func() (rehearse.Setting, []api.Hazard) {
			return setting(web("1", 2), web("2", 2), "n1"), []api.Hazard{{Kind: api.HazardLose, Name: "n1", Step: 2}}
		},
	}
}

// TestScenarios rehearses deployments and holds what happens against testdata/NAME.golden.
func TestScenarios(t *testing.T) {
	for name, scenario := range scenarios() {
		t.Run(name, func(t *testing.T) {
			s, hazards := scenario()
			r := rehearse.Run(s, nil)
			var b strings.Builder
			for _, line := range rehearse.Notes(s) {
				b.WriteString("note: " + line + "\n")
			}
			write(&b, r)
			for _, h := range hazards {
				a, err := rehearse.WhatIf(s, r, "whatIf[0]", h)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "\nwhat if %s: %d cases, the worst after step %d at %s\n", h, len(a.Cases), a.Cases[a.Worst].Step, a.Cases[a.Worst].At)
				if len(a.Cases) > 1 {
					for _, c := range a.Cases {
						fmt.Fprintf(&b, "  after step %d: %s after %s %s %v\n", c.Step, c.State, c.Took, c.Reason, c.Gaps)
					}
				}
				write(&b, a.Rehearsal)
			}
			golden(t, filepath.Join("testdata", name+".golden"), b.String())
		})
	}
}

func write(b *strings.Builder, r api.Rehearsal) {
	for _, s := range r.Steps {
		fmt.Fprintf(b, "%3d %9s %-20s %s\n", s.Number, s.At, s.Type, s.Text)
	}
	fmt.Fprintf(b, "%s after %s; release %d is committed", r.State, r.Took, r.Committed)
	if r.Reason != "" {
		b.WriteString("; " + r.Reason)
	}
	b.WriteString("\n")
	for _, g := range r.Gaps {
		b.WriteString("gap: " + g.Service + " from " + g.From.String() + " for " + g.For.String() + " open " + strconv.FormatBool(g.Open) + "\n")
	}
	if r.Cut {
		b.WriteString("cut\n")
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and read the difference. Now:\n%s", file, got)
	}
}
