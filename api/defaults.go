package api

import (
	"cmp"
	"time"
)

// What is taken where a spec is silent.
const (
	DefaultEnv           = "production"
	DefaultStopGrace     = Duration(10 * time.Second)
	DefaultDrain         = Duration(30 * time.Second)
	DefaultMonitor       = Duration(5 * time.Second)
	DefaultWarm          = Duration(10 * time.Minute)
	DefaultBake          = Duration(10 * time.Minute)
	DefaultStepPause     = Duration(30 * time.Second)
	DefaultPIDs          = 4096
	DefaultShmSize       = 64 << 20
	DefaultLogSize       = 10 << 20
	DefaultLogFiles      = 3
	DefaultInterval      = Duration(30 * time.Second)       // Docker's, for a healthcheck that names none
	DefaultProbeInterval = Duration(5 * time.Second)        // for ikada's own default check
	DefaultTimeout       = Duration(30 * time.Second)       // Docker's
	DefaultProbeTimeout  = Duration(2 * time.Second)        // for ikada's own default check
	DefaultRetries       = 3                                // Docker's
	DefaultStartInterval = Duration(100 * time.Millisecond) // faster than Docker's 5 s: readiness is what a rollout waits for
	DefaultStartPeriod   = Duration(60 * time.Second)       // for ikada's own default check
	DefaultRestartWindow = Duration(60 * time.Second)
	DefaultHold          = Duration(30 * time.Second) // how long the balancer holds a request when no task is ready
	MaxConfigBytes       = 500 << 10                  // as Swarm
	MaxSecretBytes       = 500 << 10
	MaxReplicas          = 1000
	MaxSteps             = 20
	MaxBake              = Duration(24 * time.Hour)
	KeepReleases         = 10 // per environment, besides those in use
	KeepTasks            = 5  // ended tasks kept per slot of a service, for `ps --all` and `logs`
)

// WithDefaults fills what the rollout of a service needs and its user left open: order, monitor and failure action.
// A service that writes a named volume or is exclusive stops first, since two tasks at once could harm the data;
// every other starts first.
func (s ServiceSpec) WithDefaults() ServiceSpec {
	for _, st := range []*Strategy{&s.Update, &s.Rollback} {
		if st.Order == "" {
			st.Order = StartFirst
			if s.holdsData() {
				st.Order = StopFirst
			}
		}
		if s.Exclusive {
			st.Order = StopFirst
		}
		if st.Kind == Canary && len(st.Steps) == 0 {
			st.Steps = DefaultSteps()
		}
		if st.Monitor == 0 {
			st.Monitor = DefaultMonitor
		}
		if st.FailureAction == "" {
			st.FailureAction = ActionRollback
		}
	}
	if s.StopGrace == 0 {
		s.StopGrace = DefaultStopGrace
	}
	if s.Drain == 0 {
		s.Drain = DefaultDrain
	}
	if s.Restart.Condition == "" {
		s.Restart.Condition = RestartAny
	}
	if s.Restart.Window == 0 {
		s.Restart.Window = DefaultRestartWindow
	}
	if s.Resources.PIDs == 0 {
		s.Resources.PIDs = DefaultPIDs
	}
	if s.Logging.MaxSize == 0 {
		s.Logging.MaxSize = DefaultLogSize
	}
	if s.Logging.MaxFiles == 0 {
		s.Logging.MaxFiles = DefaultLogFiles
	}
	if len(s.Networks) == 0 {
		s.Networks = []NetworkJoin{{Network: DefaultNetwork}}
	}
	return s
}

func (s ServiceSpec) holdsData() bool {
	for _, m := range s.Mounts {
		if m.Type == MountVolume && m.Source != "" && !m.ReadOnly {
			return true
		}
	}
	return false
}

// Deadline gives how long after its process's start a task must have passed the check; of one without a check it is
// that of ikada's own.
func (h *HealthSpec) Deadline() time.Duration {
	if h == nil {
		h = &HealthSpec{Interval: DefaultProbeInterval, StartPeriod: DefaultStartPeriod}
	}
	return h.StartPeriod.Std() + time.Duration(cmp.Or(h.Retries, DefaultRetries))*cmp.Or(h.Interval, DefaultInterval).Std()
}

// FirstPort gives the port that health checks and routes mean when they name none: the first of ports, routes,
// expose; 0 when the service has none.
func (s ServiceSpec) FirstPort() uint16 {
	for _, p := range s.Ports {
		return p.Target
	}
	for _, r := range s.Routes {
		if r.Port != 0 {
			return r.Port
		}
	}
	for _, p := range s.Expose {
		return p
	}
	return 0
}

// Routed tells whether requests reach the service through the balancer.
func (s ServiceSpec) Routed() bool {
	if len(s.Routes) > 0 {
		return true
	}
	for _, p := range s.Ports {
		if p.Published != 0 {
			return true
		}
	}
	return false
}
