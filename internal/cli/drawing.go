package cli

import (
	"sync"
	"time"
)

const redraw = 120 * time.Millisecond

// drawing is a live view of what goes on: on a terminal it is drawn again and again, so that clocks go on while
// nothing happens; elsewhere there is none. What picture reads is changed under mu only.
type drawing struct {
	mu      sync.Mutex
	frame   *frame // nil: plain lines
	picture func() []string
	stop    chan struct{}
	ended   sync.WaitGroup
}

// begin starts to draw, if t is a terminal. Close ends it.
func (d *drawing) begin(t terminal, picture func() []string) {
	d.picture, d.stop = picture, make(chan struct{})
	if t.live {
		d.frame = &frame{t: t}
		d.ended.Go(d.tick)
	}
}

func (d *drawing) tick() {
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
			d.mu.Lock()
			d.frame.draw(d.picture())
			d.mu.Unlock()
		}
	}
}

// close leaves the last state on the screen.
func (d *drawing) close() {
	close(d.stop)
	d.ended.Wait()
	if d.frame != nil {
		d.frame.draw(d.picture())
	}
}
