package metrics

import (
	"context"
	"time"

	"github.com/ikada/ikada/api"
)

// Point is what ended within one second at one service and release, or at one service and route.
type Point struct {
	Time     time.Time // its beginning
	Service  string
	Release  uint64 // 0: requests that found no task
	Route    string // of points by route
	Requests uint64
	Status   map[string]uint64 // by class, "2xx"; "none" are TCP, and requests without an answer
	Failed   map[string]uint64 // by kind; "answer" are tasks' own, of 500 and above
	Waits    []Bucket          // for the first byte, in rising order
	In, Out  uint64            // bytes
	Retries  uint64
	InFlight int64 // at the end of the second
	Held     int64
}

// Bucket counts waits below a bound, and not below the one before.
type Bucket struct {
	Below time.Duration
	N     uint64
}

// Requests is where counts of requests come from.
type Requests interface {
	// Points gives the seconds of an environment from a time on, oldest first, by release or by route; that which goes
	// on is not complete.
	Points(ctx context.Context, env api.EnvRef, by string, since time.Time) ([]Point, error)
}

// Scene is what is known of an environment besides its requests.
type Scene struct {
	api.Environment
	Want        map[string]int // tasks, by service of the committed release
	Tasks       []Task
	Deployments []*api.Deployment
}

// Task is a task of a service.
type Task struct {
	api.Task
	Status api.TaskStatus
}

// World is where the rest comes from.
type World interface {
	// Scenes gives all environments, in the order of their names.
	Scenes() []Scene
}
