package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/remote"
)

// balancer is ikada's process, started and told its routes as the node does it.
type balancer struct {
	remote *remote.Balancer
	cancel context.CancelFunc
	done   chan error
}

func (b *bench) balancer(http, https string) *peer {
	return &peer{name: "ikada", http: http, https: https, start: func(ctx context.Context) (instance, error) {
		dir, err := os.MkdirTemp(b.dir, "ikada")
		if err != nil {
			return nil, err
		}
		return b.startBalancer(ctx, dir, http, https)
	}}
}

func (b *bench) startBalancer(ctx context.Context, dir, http, https string) (instance, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg := remote.Config{Socket: filepath.Join(dir, "s"), HTTP: http, HTTPS: https, Certs: b.cert.dir, Version: "bench"}
	r, err := remote.New(cfg, dir, []string{b.ikada, "proxy"}, log)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx); err != nil {
		said, _ := os.ReadFile(filepath.Join(dir, "proxy.log"))
		return nil, fmt.Errorf("start ikada's balancer: %w: %s", err, said)
	}
	ctx, cancel := context.WithCancel(ctx)
	i := &balancer{remote: r, cancel: cancel, done: make(chan error, 1)}
	go func() { i.done <- r.Run(ctx) }()
	r.Apply(b.routes())
	return i, nil
}

// routes is the table: a pool for the backends, one for the echo servers, and a route to each on the shared ports.
func (b *bench) routes() *api.RouteTable {
	pool := func(name string, addresses []string) api.Pool {
		p := api.Pool{Name: name, EnvRef: api.EnvRef{App: "bench", Env: api.DefaultEnv}, Service: name, Hold: api.Duration(10 * time.Second)}
		for i, addr := range addresses {
			p.Targets = append(p.Targets, api.Target{Task: fmt.Sprint(name, "-", i), Release: 1, Address: addr})
		}
		return p
	}
	return &api.RouteTable{
		Version: 1,
		Routes:  []api.Route{{Path: "/", Pool: "backends"}, {Path: "/echo", Pool: "echo"}},
		Pools:   []api.Pool{pool("backends", b.origin.http), pool("echo", b.origin.echo)},
	}
}

func (i *balancer) pids() ([]int, error) {
	pid := i.remote.PID()
	if pid == 0 {
		return nil, errors.New("ikada's balancer does not run")
	}
	return []int{pid}, nil
}

func (i *balancer) stop() error {
	i.cancel()
	err := <-i.done
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(err, i.remote.Stop(ctx))
}
