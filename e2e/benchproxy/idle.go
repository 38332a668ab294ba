package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	idleOpeners = 32 // connections that are opened, or asked on, at once
	idleWarmUps = 64 // times that so many are opened and closed before memory is measured
	settleStep  = 200 * time.Millisecond
	settleSlack = 64 << 10 // bytes that memory may still move by in a step
	settleSteps = 25
)

// idleMemory starts a balancer, lets it serve some connections that close again, and measures what its processes
// grow by for each of the connections that have had one request and stay open, in bytes. In the end all of them must
// still work.
func (b *bench) idleMemory(ctx context.Context, p *peer) (perConnection float64, err error) {
	i, err := b.launch(ctx, p)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, i.stop()) }()
	for range idleWarmUps {
		askers, err := openAskers(ctx, p.http, idleOpeners)
		closeAskers(askers)
		if err != nil {
			return 0, err
		}
	}
	before, err := settledMemory(ctx, i)
	if err != nil {
		return 0, err
	}
	askers, err := openAskers(ctx, p.http, b.idle)
	defer func() { closeAskers(askers) }()
	if err != nil {
		return 0, err
	}
	after, err := settledMemory(ctx, i)
	if err != nil {
		return 0, err
	}
	if err := each(ctx, askers, func(_ context.Context, a **asker) error { return (*a).ask() }); err != nil {
		return 0, fmt.Errorf("ask again on an idle connection: %w", err)
	}
	return float64(after-before) / float64(b.idle), nil
}

// openAskers opens connections and asks once on each. What it gives must be closed, with an error too.
func openAskers(ctx context.Context, addr string, n int) ([]*asker, error) {
	dialer := &net.Dialer{Timeout: askTimeout}
	askers := make([]*asker, n)
	return askers, each(ctx, askers, func(ctx context.Context, a **asker) error {
		c, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		*a = &asker{c, bufio.NewReaderSize(c, 512)}
		return (*a).ask()
	})
}

// closeAskers resets the connections: ten thousand that linger would take the next round's ports.
func closeAskers(askers []*asker) {
	for _, a := range askers {
		if a != nil {
			_ = a.Conn.(*net.TCPConn).SetLinger(0)
			a.Close()
		}
	}
}

// each calls do with every asker, some at once.
func each(ctx context.Context, askers []*asker, do func(context.Context, **asker) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(idleOpeners)
	for i := range askers {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return do(ctx, &askers[i])
		})
	}
	return g.Wait()
}

// settledMemory gives an instance's memory once it does not move any more: what a program gives back, it gives back
// after a while.
func settledMemory(ctx context.Context, i instance) (int64, error) {
	last, err := memory(i)
	for range settleSteps {
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(settleStep):
		}
		var now int64
		now, err = memory(i)
		if moved := now - last; moved < settleSlack && moved > -settleSlack {
			break
		}
		last = now
	}
	return last, err
}
