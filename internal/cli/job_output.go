package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// outputWait bounds the wait for the rest of the output of a deployment's commands once it has ended.
const outputWait = 5 * time.Second

// commandOutput prints what the release commands of a deployment write, as they write it.
type commandOutput struct {
	ctx  context.Context
	stop context.CancelFunc
	c    *client.Client
	ref  api.EnvRef
	say  func(line string)

	followed map[string]bool
	wg       sync.WaitGroup
}

func newCommandOutput(ctx context.Context, c *client.Client, ref api.EnvRef, say func(line string)) *commandOutput {
	o := &commandOutput{c: c, ref: ref, say: say, followed: map[string]bool{}}
	o.ctx, o.stop = context.WithCancel(ctx)
	return o
}

// update follows the commands that a deployment has begun.
func (o *commandOutput) update(d api.Deployment) {
	for _, r := range d.Rollouts {
		if r.Job == "" || o.followed[r.Job] {
			continue
		}
		o.followed[r.Job] = true
		o.wg.Go(func() {
			// An error here hides output, which `ikada logs` shows; how the command ended the deployment says.
			_, _ = o.c.WatchJob(o.ctx, o.ref, r.Job, false, func(e api.JobEvent) error {
				if e.Line != nil {
					text := strings.ToValidUTF8(string(client.OutputOf(e)), "\uFFFD")
					o.say(fmt.Sprintf("%s.%s | %s", r.Service, api.JobRelease, printable(strings.TrimRight(text, "\r\n"))))
				}
				return nil
			})
		})
	}
}

// close waits a while for what is still to come.
func (o *commandOutput) close() {
	timer := time.AfterFunc(outputWait, o.stop)
	defer timer.Stop()
	o.wg.Wait()
	o.stop()
}
