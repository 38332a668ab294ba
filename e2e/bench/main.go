// Command bench measures ikada beside Docker and Docker Swarm on this machine, in one run: what users wait for, and
// what the processes cost. e2e/bench.sh installs what it needs and starts it; it must be root.
//
// Both sides get the same image and the same load, through their APIs, so that no client's start is in the numbers
// unless a command is what is measured. Rounds alternate between the two, so that a machine that is busy with
// something else slows both. Docker runs in network, mount and process namespaces of its own: its firewall rules,
// bridges and mounts end with them, and nothing on the machine is in its way.
//
// Start at run; every measurement is a trial (trial.go), node.go and swarm.go hold the two sides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	ikada     string        // the program under measurement
	baseimage string        // the program that makes base images
	examples  string        // directory of the example apps
	rounds    int           // values behind each median
	replicas  int           // tasks of a rolling update
	rate      int           // requests a second during it
	port      int           // first of the ports that are used
	timeout   time.Duration // of the whole
	docker    bool
	parts     string // comma-separated
}

func main() {
	var o options
	flag.StringVar(&o.ikada, "ikada", "bin/ikada", "the program to measure")
	flag.StringVar(&o.baseimage, "baseimage", "bin/baseimage", "the program that makes base images")
	flag.StringVar(&o.examples, "examples", "examples", "directory of the example apps")
	flag.IntVar(&o.rounds, "rounds", 5, "values behind each median")
	flag.IntVar(&o.replicas, "replicas", 10, "tasks of a rolling update")
	flag.IntVar(&o.rate, "rate", 200, "requests a second during a rolling update")
	flag.IntVar(&o.port, "port", 23600, "first of the ports to use")
	flag.DurationVar(&o.timeout, "timeout", 6*time.Minute, "bound of the whole run")
	flag.BoolVar(&o.docker, "docker", true, "measure Docker too")
	flag.StringVar(&o.parts, "parts", "idle,starts,rolls,deploys", "what to measure besides the start-up, in this order")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done after %s", o.timeout))
	err := run(ctx, o)
	stop()
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	dir    string
	node   *node
	docker *docker // nil when it could not be started
	images images
	report report
	told   string // how the last load went
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("must be root: it starts containers")
	}
	dir, err := os.MkdirTemp("", "ikb-") // short: sockets in it have at most 107 characters
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir}
	// A file of its own: pages that another instance on the machine shares would not count in full.
	b.options.ikada = filepath.Join(dir, "ikada")
	if err := copyProgram(b.options.ikada, o.ikada); err != nil {
		return err
	}
	progress("building the app's two versions")
	if b.images, err = makeImages(ctx, filepath.Join(o.examples, "hello"), dir); err != nil {
		return err
	}
	b.node = newNode(b.options.ikada, filepath.Join(dir, "i"), o.port)
	defer func() { err = errors.Join(err, b.node.reset()) }()
	if o.docker {
		b.docker = newDocker(filepath.Join(dir, "d"))
		defer func() {
			if b.docker != nil {
				err = errors.Join(err, b.docker.stop())
			}
		}()
	}
	defer b.finish()
	if err := b.boot(ctx); err != nil {
		return err
	}
	return b.measure(ctx)
}

// measure runs the parts that were asked for.
func (b *bench) measure(ctx context.Context) error {
	asked := func(part string) bool { return slices.Contains(strings.Split(b.parts, ","), part) }
	if asked("idle") { // before anything is deployed
		if err := b.idle(ctx); err != nil {
			return err
		}
	}
	if err := b.handOver(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"starts", b.starts}, {"rolls", b.rolls}, {"deploys", b.deploys}} {
		if !asked(part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finish prints what was measured; of a run that was cut short, what there is.
func (b *bench) finish() {
	b.report.print(os.Stdout)
	fmt.Printf("\n%d cores, load average %s, %s\n", runtime.NumCPU(), loadAverage(), time.Now().UTC().Format("2006-01-02 15:04 UTC"))
}

func copyProgram(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("%w: `make build` makes it", err)
	}
	return os.WriteFile(to, b, 0o755)
}

// loadAverage tells how busy the machine was, in the kernel's words.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) > 2 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

// until polls cond, which is cheap on both sides, until it holds.
func until(ctx context.Context, every time.Duration, what string, cond func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := cond(); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
