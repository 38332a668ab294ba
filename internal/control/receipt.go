package control

import (
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
)

// count is the window of a running deployment.
type count struct {
	deployment uint64
	window     Window
	late       time.Time // when it was opened, if that was after the deployment's start
}

// receipt counts the requests of a deployment from its start to its end, and writes what was counted when the plan
// ends it.
func (l *Loop) receipt(p *deploy.Plan, w deploy.World) {
	d := p.Deployment
	if d == nil {
		d = w.Deployment
	}
	if d == nil || l.cfg.Traffic == nil {
		return
	}
	l.mu.Lock()
	c := l.windows[w.Env.EnvRef]
	if c == nil || c.deployment != d.Number {
		if c != nil {
			c.window.Close()
		}
		c = &count{deployment: d.Number, window: l.cfg.Traffic.Open(w.Env.EnvRef)}
		if w.Deployment.State == api.DeployRunning {
			c.late = w.Now
		}
		l.windows[w.Env.EnvRef] = c
	}
	l.mu.Unlock()
	if p.Deployment == nil || !d.State.Final() {
		return
	}
	requests, failed, longest := c.window.Read()
	d.Receipt.Requests, d.Receipt.Failed, d.Receipt.LongestWait = requests, failed, api.Duration(longest)
	if !c.late.IsZero() {
		d.Receipt.Partial = "ikada was restarted meanwhile: counted from " + c.late.Format(time.TimeOnly)
	}
}

// closeWindows ends the counting of all environments.
func (l *Loop) closeWindows() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for env, c := range l.windows {
		c.window.Close()
		delete(l.windows, env)
	}
}

func (l *Loop) closeWindow(env api.EnvRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.windows[env]; c != nil {
		c.window.Close()
		delete(l.windows, env)
	}
}
