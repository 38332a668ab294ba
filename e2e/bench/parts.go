package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

// How often the two sides are asked, the same for both.
const (
	pollEvery   = 25 * time.Millisecond // for tasks
	answerEvery = 2 * time.Millisecond  // for an app's first answer
	settleTime  = 5 * time.Second       // from the start to what is called idle
)

// ownGroup keeps the terminal's signals from a process: the bench passes them on in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// boot measures both sides' start on an empty directory; the last start of each stays. Docker that does not start
// leaves ikada alone in the table.
func (b *bench) boot(ctx context.Context) error {
	if b.docker != nil {
		if _, err := b.docker.up(ctx); err != nil {
			progress("Docker is left out: %v", err)
			b.report.note("Docker could not be started and is left out.")
			if err := b.docker.stop(); err != nil {
				progress("%v", err)
			}
			b.docker = nil
		}
	}
	return b.try(ctx, trial{
		what: "start-up to ready", bound: 2 * time.Second,
		ikada: func(ctx context.Context) (time.Duration, error) {
			if err := b.node.reset(); err != nil {
				return 0, err
			}
			return b.node.up(ctx)
		},
		docker: func(ctx context.Context) (time.Duration, error) {
			if err := b.docker.stop(); err != nil {
				return 0, err
			}
			return b.docker.up(ctx)
		},
	})
}

// idle measures memory before anything was asked of either side.
func (b *bench) idle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settleTime):
	}
	return b.memory("idle, nothing deployed yet: all processes, PSS", 150<<20)
}

// memory notes what the daemons of both sides use.
func (b *bench) memory(what string, bound int64) error {
	ours, err := memoryOf(b.node.dir)
	if err != nil {
		return err
	}
	var theirs usage
	if b.docker != nil {
		if theirs, err = memoryOf(b.docker.dir); err != nil {
			return err
		}
	}
	b.report.memory(what, ours.daemons, theirs.daemons, bound)
	b.report.note("Of what is idle on ikada's side: %s; on Docker's: %s.", ours.names(), theirs.names())
	return nil
}

// handOver gives both sides the app's images, and runs the app on both: the one is as warm as the other.
func (b *bench) handOver(ctx context.Context) error {
	if err := b.node.login(ctx); err != nil {
		return err
	}
	for i, img := range b.images {
		if err := push(ctx, img, b.node.ref(i), b.node.token); err != nil {
			return err
		}
	}
	if err := b.node.put(ctx, b.node.spec(1)); err != nil {
		return err
	}
	if b.docker != nil {
		if err := b.docker.prepare(ctx, b.images); err != nil {
			return err
		}
	}
	return nil
}

// starts measures one container's start.
func (b *bench) starts(ctx context.Context) error {
	for _, published := range []bool{true, false} {
		t := trial{what: "one container's start to HTTP 200", least: 2, peer: "run -p",
			ikada:  b.node.start,
			docker: func(ctx context.Context) (time.Duration, error) { return b.docker.start(ctx, published) }}
		if !published { // nobody outside could reach it: told, no target
			t.peer, t.least = "run without -p", 0
		}
		if err := b.try(ctx, t); err != nil {
			return err
		}
		if b.docker == nil {
			break
		}
	}
	b.report.note("A start on ikada is from `scale` 0 → 1 to the answer through its balancer, scheduling and health check included; " +
		"on Docker from create to the answer of the container at its published port, or at its own address.")
	_, err := b.node.client.Scale(ctx, web, api.ScaleRequest{"web": -1}) // as its release says, from now on
	return err
}

// rolls measures rolling updates of many tasks at once.
func (b *bench) rolls(ctx context.Context) error {
	if err := b.node.put(ctx, b.node.spec(b.replicas)); err != nil {
		return err
	}
	if b.docker != nil {
		if err := b.docker.joinSwarm(ctx); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("%d tasks rolled at once, load and health checks on", b.replicas)
	// Swarm's checks are processes in its containers, ten a second: they must not run while ikada is measured.
	err := b.try(ctx, trial{what: what, least: 3, peer: "the same", apart: true,
		ikada: b.rollUnderLoad, docker: func(ctx context.Context) (time.Duration, error) { return b.docker.rollUnderLoad(ctx, b.options) }})
	if err != nil {
		return err
	}
	b.report.note("Load is %d requests/s, every answer checked. On ikada it goes through the balancer to the tasks that are swapped; "+
		"of the last swap: %s.", b.rate, b.told)
	if b.docker == nil {
		return nil
	}
	b.report.note("Swarm's routing mesh needs IPVS, which this machine may lack. Beside Swarm the load goes to a container of the same " +
		"image next to the service: the same work for the cores, and nothing that the update could break.")
	if err := b.docker.removeService(ctx); err != nil {
		return err
	}
	err = b.try(ctx, trial{what: what, least: 3, peer: "no load, no check",
		ikada: b.rollUnderLoad, docker: func(ctx context.Context) (time.Duration, error) { return b.docker.roll(ctx, b.replicas, false) }})
	if err != nil {
		return err
	}
	if err := b.perTask(); err != nil {
		return err
	}
	return b.docker.removeService(ctx)
}

// rollUnderLoad swaps the node's app for its other version; a request that fails is an error.
func (b *bench) rollUnderLoad(ctx context.Context) (time.Duration, error) {
	l := startLoad(ctx, b.node.url(b.node.web), b.rate, plain)
	b.node.version = 1 - b.node.version
	took, err := b.node.roll(ctx, b.node.spec(b.replicas))
	told, failed := l.stop()
	if failed != nil {
		failed = fmt.Errorf("a request failed (%s): %w", told, failed)
	}
	b.told = told
	return took, errors.Join(err, failed)
}

// perTask notes the memory that each task costs besides its own.
func (b *bench) perTask() error {
	ours, err := memoryOf(b.node.dir)
	if err != nil {
		return err
	}
	theirs, err := memoryOf(b.docker.dir)
	if err != nil {
		return err
	}
	n := int64(b.replicas)
	b.report.memory("shim of one task, PSS", ours.shims/n, theirs.shims/n, 0)
	b.report.memory(fmt.Sprintf("daemons with %d tasks, PSS", n), ours.daemons, theirs.daemons, 0)
	return nil
}

// deploys measures deploys of examples/hello from its source.
func (b *bench) deploys(ctx context.Context) error {
	progress("making a base image with a Go toolchain")
	base := b.node.api + "/golang:1.26"
	cmd := exec.CommandContext(ctx, b.baseimage, "golang", base)
	cmd.Env = append(os.Environ(), "IKADA_TOKEN="+b.node.token)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make base image: %w\n%s", err, text)
	}
	dir := filepath.Join(b.dir, "source")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(b.examples, "hello"))); err != nil {
		return err
	}
	s := &source{bench: b, dir: dir, base: base}
	first, err := s.deploy(ctx)
	if err != nil {
		return err
	}
	line := "The first build, its caches empty: ikada " + seconds(first)
	if b.docker != nil {
		if err := b.docker.joinSwarm(ctx); err != nil {
			return err
		}
		if first, err = s.dockerFirst(ctx); err != nil {
			return err
		}
		line += ", Docker " + seconds(first)
	}
	b.report.note("%s.", line)
	err = b.try(ctx, trial{what: "deploy, nothing changed", bound: 500 * time.Millisecond, peer: "build + service update",
		ikada: s.deployUnchanged, docker: s.dockerUnchanged})
	if err != nil {
		return err
	}
	err = b.try(ctx, trial{what: "deploy, one file changed, to only new tasks", peer: "build + service update",
		ikada: s.deploy, docker: s.dockerDeploy})
	if err != nil {
		return err
	}
	b.report.note("Deploys are of examples/hello, two replicas, with the commands' own start: ikada compiles, swaps with HTTP checks " +
		"through the balancer; Docker runs `docker build` with BuildKit and `docker service update`, without a check (the image has " +
		"no program for one) and without a published port.")
	return nil
}
