package control

import (
	"context"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

const nodeInterval = 2 * time.Second

// watchNodes writes down which nodes are lost, and has the environments looked at again when the time that nodes get
// to join after an election is over, and when memory becomes short somewhere.
func (l *Loop) watchNodes(ctx context.Context) {
	tick := time.NewTicker(nodeInterval)
	defer tick.Stop()
	joined := false
	short := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(l.began) <= joinTime {
			continue
		}
		var lost []string
		var envs []api.EnvRef
		changed := false
		l.cfg.Mirror.Read(func(s *store.State) {
			for name, n := range s.Nodes {
				if _, alive := s.Leases[name]; !alive && !n.Down {
					lost = append(lost, name)
				}
				if n.Short != short[name] {
					short[name], changed = n.Short, true
				}
			}
			for env := range s.Environments {
				envs = append(envs, env)
			}
		})
		for _, name := range lost {
			if err := l.markDown(ctx, name); err != nil && ctx.Err() == nil {
				l.cfg.Log.Error("mark node down", "node", name, "error", err)
			}
		}
		if !joined || len(lost) > 0 || changed {
			joined = true
			for _, env := range envs {
				l.queue.add(env)
			}
		}
	}
}

func (l *Loop) markDown(ctx context.Context, name string) error {
	_, err := l.fence.Update(ctx, func(tx store.Tx) error {
		if _, alive, err := tx.Get(store.LeaseKey(name)); err != nil || alive {
			return err
		}
		n, err := store.Find[api.Node](tx, store.NodeKey(name))
		if err != nil || n == nil || n.Down {
			return err
		}
		n.Down = true
		if err := store.Put(tx, store.NodeKey(name), n); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{Node: name, Type: "node.lost", Level: api.LevelError,
			Message: fmt.Sprintf("node %s does not answer", name)})
	})
	return err
}
