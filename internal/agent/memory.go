package agent

import (
	"context"
	"time"
)

// A node is short of memory with less than a tenth of it available, until there is more than a sixth again.
const (
	memoryEvery = 2 * time.Second
	shortBelow  = 10
	ampleAbove  = 6
)

// watchMemory keeps an eye on the node's memory until ctx ends.
func (a *Agent) watchMemory(ctx context.Context) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		if available, total, err := a.cfg.Memory(); err == nil {
			was := a.short.Load()
			now := available < total/shortBelow || was && available < total/ampleAbove
			if a.short.Store(now); now != was {
				a.log.Info("memory", "short", now, "available", available, "total", total)
				a.poke()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
