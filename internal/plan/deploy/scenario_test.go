package deploy

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var update = flag.Bool("update", false, "write what the scenarios print into their files")

// TestScenarios runs testdata/*.txt. A line is a command; the lines under it that begin with a tab are what it
// printed. The commands:
//
//	service NAME [image=V] [replicas=N] [order=…] [parallelism=N] [delay=D] [monitor=D] [ratio=F] [action=…]
//	        [restart=…] [attempts=N] [after=OTHER:CONDITION] [exclusive] [drain=D] [release]   describes a service of the next deploy
//	remove NAME            takes a service out of the next deploy
//	        [kind=…] [steps=W:PAUSE,W:hold,…] [warm=D] [bake=D] [judge=off] [port=N]
//	deploy                 deploys the described services
//	rollback N             deploys release N again
//	cancel, pause, resume  the running deployment
//	short NODE WHY         nothing can stay warm there
//	rate N                 every service gets N requests a second
//	fail IMAGE PERCENT, slow IMAGE D     what requests meet at the image's tasks
//	break IMAGE HOW        tasks of the image fail: exit, late, never, pull, oom, unplaced; "no" mends it
//	crash TASK, oom TASK, vanish TASK, unhealthy TASK, lose TASK, busy TASK, idle TASK     TASK is an ID
//	command NAME STATE [REASON]     the release command of a service comes to a state
//	scale NAME N, down, destroy, port NAME PROBLEM
//	check NAME [of=SERVICE] [at=SERVICE] [kind=http|url|command|promql|static] [failures=N] [interval=D] [initial=D] [required] [onerror=fail]
//	                       gives the service, else the app, a check; at says whose tasks an app's check asks
//	answer IMAGE CHECK HOW     how the image's tasks answer: pass, fail, none
//	checks                 prints the checks of the newest deployment
//	rollouts               prints the rollouts of the running deployment
//	receipt N              prints the steps, verdicts and way back of a deployment
//	run D                  lets time pass; prints what was done and how things stand then
//	world                  begins anew
//	nodes N                that many nodes; cut NODE, back NODE     nobody hears from it, and it is heard again
//	brief                  from now on only events and how things stand are printed
//	silently COMMAND       prints nothing
//
// In place of a task's ID may stand an image: its newest task that lives.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	matrix, failed := filepath.Glob("testdata/matrix/*.txt")
	if err != nil || failed != nil || len(files) == 0 || len(matrix) == 0 {
		t.Fatalf("no scenarios: %v, %v", err, failed)
	}
	files = append(files, matrix...)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runScenario(t, f) })
	}
}

func runScenario(t *testing.T, file string) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sc := scenario{}
	sc.begin()
	var out strings.Builder
	for line := range strings.Lines(string(src)) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line)
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := sc.do(strings.Fields(line)); err != nil {
			t.Fatalf("%s: %q: %v", file, line, err)
		}
		if sc.sim.fault != "" {
			t.Fatalf("%s: %q: %s\n%s", file, line, sc.sim.fault, sc.sim.story())
		}
		for _, l := range sc.sim.log {
			if !sc.brief || strings.HasPrefix(l, "event ") {
				out.WriteString("\t" + l + "\n")
			}
		}
		for _, l := range sc.summary {
			out.WriteString("\t" + l + "\n")
		}
		sc.summary = nil
		sc.sim.log = nil
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := out.String(); got != string(src) {
		t.Errorf("%s differs; run with -update and read the diff. Now:\n%s", file, got)
	}
}

type scenario struct {
	sim     *sim
	spec    map[string]api.ServiceSpec
	summary []string
	brief   bool
	app     []api.ReleaseCheck
}

func (sc *scenario) begin() {
	sc.sim, sc.spec, sc.app = newSim(), map[string]api.ServiceSpec{}, nil
	sc.sim.watch = true
}

// task gives a task by its ID, or the newest one that lives by its image.
func (sc *scenario) task(name string) *simTask {
	for _, t := range slices.Backward(sc.sim.tasks) {
		if t.ID == name || t.image == name && t.live() {
			return t
		}
	}
	return nil
}

func (sc *scenario) do(f []string) error {
	s := sc.sim
	s.dirty = true
	switch f[0] {
	case "service":
		return sc.service(f[1], f[2:])
	case "world":
		sc.begin()
	case "brief":
		sc.brief = true
	case "silently":
		err := sc.do(f[1:])
		s.log, sc.summary = nil, nil
		return err
	case "nodes":
		n, err := strconv.Atoi(f[1])
		for i := len(s.nodes); i < n; i++ {
			s.nodes = append(s.nodes, &node{name: fmt.Sprintf("n%d", i+1), bit: 1 << i})
		}
		return err
	case "cut":
		s.cutOff(s.node(f[1]))
	case "back":
		s.comeBack(s.node(f[1]), false)
	case "remove":
		delete(sc.spec, f[1])
	case "deploy":
		services := map[string]api.ServiceSpec{}
		maps.Copy(services, sc.spec)
		s.deploy(api.KindDeploy, api.AppSpec{App: "shop", Env: "production", Services: services, Checks: slices.Clone(sc.app)})
	case "rollback":
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return err
		}
		s.queue(api.KindRollback, n)
	case "cancel":
		d := s.current()
		d.Cancel, d.Reason = true, "cancelled by ann"
	case "pause":
		s.current().PausedAt = s.now
	case "resume":
		s.current().ResumedAt = s.now.Add(time.Nanosecond)
	case "rate":
		n, err := strconv.Atoi(f[1])
		s.rate = n
		return err
	case "short":
		s.pressure = map[string]string{f[1]: strings.Join(f[2:], " ")}
	case "fail":
		n, err := strconv.Atoi(f[2])
		s.fails[f[1]] = n
		return err
	case "slow":
		d, err := time.ParseDuration(f[2])
		s.slow[f[1]] = d
		return err
	case "break":
		s.broken[f[1]] = f[2]
		if f[2] == "no" {
			delete(s.broken, f[1])
		}
	case "command":
		c := Command{Job: "j", State: api.JobState(strings.ReplaceAll(f[2], "-", " ")), Reason: strings.Join(f[3:], " ")}
		if c.State.Final() {
			c.EndedAt = s.now
		}
		c.StartedAt = s.commands[s.current().Number][f[1]].StartedAt
		s.commands[s.current().Number][f[1]] = c
	case "rollouts":
		for _, r := range s.current().Rollouts {
			s.logf("%s: %s %d/%d ready, %d old (%s)", r.Service, r.State, r.Ready, r.Want, r.Old, r.Reason)
		}
	case "receipt":
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return err
		}
		s.receipt(s.deps[n-1])
	case "check":
		return sc.check(f[1], f[2:])
	case "answer":
		s.checks[f[1]+"/"+f[2]] = f[3]
	case "checks":
		for _, r := range s.deps[len(s.deps)-1].Checks {
			base := "none"
			if r.Baseline != nil {
				base = r.Baseline.Result
			}
			s.logf("%s: %s, %d passed, %d failed, %d unknown, %d in a row, before: %s", r.Title(), r.Result, r.Passed, r.Failed, r.Unknown, r.InRow, base)
		}
	case "scale":
		n, err := strconv.Atoi(f[2])
		if err != nil {
			return err
		}
		s.env.Scale = map[string]int{f[1]: n}
	case "down":
		s.env.Stopped = true
	case "destroy":
		s.env.Destroying = true
	case "port":
		s.problems[f[1]] = strings.Join(f[2:], " ")
	case "run":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			return err
		}
		s.run(d)
		sc.summary = s.summary()
	default:
		return sc.doTask(f[0], sc.task(f[1]))
	}
	return nil
}

// receipt prints what a deployment keeps of its way.
func (s *sim) receipt(d *api.Deployment) {
	for _, step := range d.Steps {
		name := step.Name
		if step.Weight > 0 {
			name += fmt.Sprintf(" of %d %%", step.Weight)
		}
		if step.Service != "" {
			name += " of " + step.Service
		}
		line := fmt.Sprintf("%s %s for %s", step.At.Sub(d.StartedAt), name, step.Took)
		if !step.Ended {
			line = fmt.Sprintf("%s %s goes on", step.At.Sub(d.StartedAt), name)
		}
		s.logf("%s%s", line, because(step.Note))
	}
	for _, v := range d.Turns {
		s.logf("%s verdict on %s: %s, %d of %d requests failed, %d of %d", v.At.Sub(d.StartedAt), v.Service, v.Result, v.Numbers.New.Failed,
			v.Numbers.New.Requests, v.Numbers.Old.Failed, v.Numbers.Old.Requests)
	}
	if d.Receipt.Rollback != "" {
		s.logf("way back: %s", d.Receipt.Rollback)
	}
	if w := d.Receipt.WayBack; w != nil && !w.Until.IsZero() {
		s.logf("warm for %s", w.Until.Sub(d.EndedAt))
	}
}

func (sc *scenario) check(name string, opts []string) error {
	c, kind, of := api.ReleaseCheck{Name: name}, "http", ""
	for _, o := range opts {
		k, v, _ := strings.Cut(o, "=")
		d, _ := time.ParseDuration(v)
		switch k {
		case "of":
			of = v
		case "at":
			c.Service = v
		case "kind":
			kind = v
		case "failures":
			c.Failures, _ = strconv.Atoi(v)
		case "interval":
			c.Interval = api.Duration(d)
		case "initial":
			c.InitialDelay = api.Duration(d)
		case "required":
			c.Required = true
		case "onerror":
			c.OnError = v
		default:
			return fmt.Errorf("unknown option %q", o)
		}
	}
	most := 0.5
	switch kind {
	case "http":
		c.HTTP = &api.HTTPCheck{Path: "/smoke"}
	case "url":
		c.HTTP = &api.HTTPCheck{URL: "https://shop.example.com/smoke"}
	case "command":
		c.Command = []string{"smoke"}
	case "promql":
		c.PromQL = &api.PromQLCheck{Query: `errors{release="{{.Release}}"}`, Max: &most}
	case "static":
		c.PromQL = &api.PromQLCheck{Query: "errors", Max: &most}
	}
	if of == "" {
		sc.app = append(sc.app, c)
		return nil
	}
	spec := sc.spec[of]
	spec.Checks = append(slices.DeleteFunc(slices.Clone(spec.Checks), func(o api.ReleaseCheck) bool { return o.Name == name }), c)
	sc.spec[of] = spec
	return nil
}

func (sc *scenario) doTask(verb string, t *simTask) error {
	if t == nil {
		return errors.New("no such task")
	}
	switch verb {
	case "crash":
		sc.sim.exit(t, "exited with code 137")
	case "oom":
		sc.sim.end(t, api.CauseOOM, "killed for memory: its limit is 96 MiB")
	case "vanish":
		sc.sim.end(t, api.CauseLost, "its container was gone when ikada started: the node was shut down or restarted")
	case "unhealthy":
		sc.sim.sicken(t)
	case "lose":
		t.gone = true
	case "busy":
		sc.sim.busy[t.ID] = true
	case "idle":
		delete(sc.sim.busy, t.ID)
	default:
		return errors.New("unknown command")
	}
	return nil
}

func (sc *scenario) service(name string, opts []string) error {
	spec, ok := sc.spec[name]
	if !ok {
		spec = api.ServiceSpec{Image: "v1", Replicas: 1}
	}
	for _, o := range opts {
		k, v, _ := strings.Cut(o, "=")
		n, _ := strconv.Atoi(v)
		d, _ := time.ParseDuration(v)
		switch k {
		case "image":
			spec.Image = v
		case "replicas":
			spec.Replicas = n
		case "order":
			spec.Update.Order, spec.Rollback.Order = v, v
		case "parallelism":
			spec.Update.Parallelism, spec.Rollback.Parallelism = n, n
		case "delay":
			spec.Update.Delay = api.Duration(d)
		case "monitor":
			spec.Update.Monitor = api.Duration(d)
		case "ratio":
			r, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return err
			}
			spec.Update.MaxFailureRatio = r
		case "action":
			spec.Update.FailureAction = v
		case "restart":
			spec.Restart.Condition = v
		case "attempts":
			spec.Restart.MaxAttempts = n
		case "drain":
			spec.Drain = api.Duration(d)
		case "release":
			spec.Release = &api.ReleaseCommand{Command: api.Command{Command: []string{"migrate", v}}}
		case "exclusive":
			spec.Exclusive = true
		case "kind":
			spec.Update.Kind = v
		case "warm":
			w := api.Duration(d)
			spec.Update.Warm = &w
		case "bake":
			b := api.Duration(d)
			spec.Update.Bake = &b
		case "judge":
			spec.Update.Judge = &api.JudgeSpec{Off: v == "off"}
		case "port":
			spec.Ports = []api.PortSpec{{Target: uint16(n), Published: uint16(n)}}
		case "steps":
			spec.Update.Steps = nil
			for step := range strings.SplitSeq(v, ",") {
				weight, pause, _ := strings.Cut(step, ":")
				w, _ := strconv.Atoi(weight)
				p, _ := time.ParseDuration(pause)
				spec.Update.Steps = append(spec.Update.Steps, api.CanaryStep{Weight: w, Pause: api.Duration(p), Hold: pause == "hold"})
			}
		case "after":
			on, cond, _ := strings.Cut(v, ":")
			spec.DependsOn = []api.Dependency{{Service: on, Condition: cond}}
		default:
			return fmt.Errorf("unknown option %q", o)
		}
	}
	sc.spec[name] = spec
	return nil
}
