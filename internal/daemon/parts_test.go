package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestHangingPartHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g, ctx := errgroup.WithContext(t.Context())
		p := parts{group: g, running: map[string]bool{}}
		free := make(chan struct{})
		p.run("hanging", func() error { <-free; return nil })
		p.run("orderly", func() error { <-ctx.Done(); return nil })
		p.run("shutdown", func() error { return errShutdown })
		began := time.Now()
		err := p.wait(ctx, slog.New(slog.NewTextHandler(&out, nil)))
		if !errors.Is(err, errShutdown) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(began); took != partGrace {
			t.Errorf("took %s", took)
		}
		if log := out.String(); !strings.Contains(log, "parts=hanging") || strings.Contains(log, "orderly,") {
			t.Errorf("log is %.200s", log)
		}
		close(free)
		synctest.Wait()
	})
}

func TestPartsThatEndAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, ctx := errgroup.WithContext(ctx)
		p := parts{group: g, running: map[string]bool{}}
		p.run("orderly", func() error { <-ctx.Done(); return nil })
		began := time.Now()
		cancel()
		if err := p.wait(ctx, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}
