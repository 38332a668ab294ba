package verdict

import (
	"fmt"
	"math"
	"time"

	"github.com/ikada/ikada/api"
)

// The defaults of a Config.
const (
	// DefaultMoreFailures is what hardly a user would take a release back for by hand: one request in 500.
	DefaultMoreFailures = 0.002

	// DefaultSlowdown and DefaultSlowdownBy tell a slower release from one that has another load, another neighbour or
	// colder caches: a half more, and more than what the scheduler of a busy machine adds.
	DefaultSlowdown   = 1.5
	DefaultSlowdownBy = api.Duration(2 * time.Millisecond)

	// DefaultWarmup is what connections, caches and lazy beginnings take. A runtime that compiles as it goes needs more.
	DefaultWarmup = api.Duration(3 * time.Second)

	// DefaultChance is a little less than one in a thousand.
	DefaultChance = 0.0009
)

// The parts of the chance of a false alarm that the tests have. Failures have most, since they are what users notice first,
// and what has to be found out soonest.
const failuresPart, latencyPart, slowPart, probesPart = 0.75, 0.1, 0.1, 0.05

// Config says how much worse than the old release a new one may be. The zero value of a field is its default.
type Config struct {
	MoreFailures float64      `json:"moreFailures,omitempty"` // how much higher the ratio of failed requests may be, 0 to 0.9
	Slowdown     float64      `json:"slowdown,omitempty"`     // how many times as long answers may take, 1 to 100
	SlowdownBy   api.Duration `json:"slowdownBy,omitempty"`   // and by how much longer than that
	Warmup       api.Duration `json:"warmup,omitempty"`       // time after the beginning in which latency does not count; negative is none
	Chance       float64      `json:"chance,omitempty"`       // that a harmless release ever fails by its requests or probes, 1e-9 to 0.1
}

// WithDefaults gives the configuration with its zero fields set.
func (c Config) WithDefaults() Config {
	set := func(v *float64, to float64) {
		if *v == 0 {
			*v = to
		}
	}
	set(&c.MoreFailures, DefaultMoreFailures)
	set(&c.Slowdown, DefaultSlowdown)
	set(&c.Chance, DefaultChance)
	if c.SlowdownBy == 0 {
		c.SlowdownBy = DefaultSlowdownBy
	}
	if c.Warmup == 0 {
		c.Warmup = DefaultWarmup
	}
	return c
}

// Validate gives an error of kind Invalid that names the first field that is out of its range.
func (c Config) Validate() error {
	c = c.WithDefaults()
	within := func(v, low, high float64) bool { return !math.IsNaN(v) && v >= low && v <= high }
	switch {
	case !within(c.MoreFailures, 0, 0.9):
		return api.FieldError("moreFailures", fmt.Sprint(c.MoreFailures), "a ratio between 0 and 0.9")
	case !within(c.Slowdown, 1, 100):
		return api.FieldError("slowdown", fmt.Sprint(c.Slowdown), "a factor between 1 and 100")
	case c.SlowdownBy < 0 || c.SlowdownBy.Std() > time.Hour:
		return api.FieldError("slowdownBy", c.SlowdownBy.String(), "a duration between 0s and 1h")
	case c.Warmup.Std() > time.Hour:
		return api.FieldError("warmup", c.Warmup.String(), "a duration up to 1h")
	case !within(c.Chance, 1e-9, 0.1):
		return api.FieldError("chance", fmt.Sprint(c.Chance), "a probability between 1e-9 and 0.1")
	}
	return nil
}
