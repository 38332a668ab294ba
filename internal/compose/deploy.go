package compose

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// defaultParallelism is how many tasks are replaced at a time when the file does not say: Docker's.
const defaultParallelism = 1

// resources joins deploy.resources with the older attributes of the service; compose-go has checked that both do
// not differ.
func (c *converter) resources(field string, s *types.ServiceConfig) api.Resources {
	out := api.Resources{
		CPUMillis:       millis(s.CPUS),
		MemoryBytes:     int64(s.MemLimit),
		PIDs:            s.PidsLimit,
		ReserveMemory:   int64(s.MemReservation),
		CPUShares:       s.CPUShares,
		MemorySwapBytes: int64(s.MemSwapLimit),
		OOMScoreAdj:     int(s.OomScoreAdj),
		DisableOOMKill:  s.OomKillDisable,
		CPUSet:          s.CPUSet,
	}
	if s.MemSwappiness != 0 {
		n := int(s.MemSwappiness)
		out.MemorySwappiness = &n
	}
	if s.CPUQuota > 0 {
		period := cmp.Or(s.CPUPeriod, 100_000) // Docker's default, microseconds
		out.CPUMillis = cmp.Or(out.CPUMillis, s.CPUQuota*1000/max(period, 1))
	} else if s.CPUPeriod != 0 {
		c.bad(field+".cpu_period", fmt.Sprint(s.CPUPeriod), "cpu_quota beside it")
	}
	if s.Deploy == nil {
		return out
	}
	if l := s.Deploy.Resources.Limits; l != nil {
		out.CPUMillis = cmp.Or(millis(l.NanoCPUs.Value()), out.CPUMillis)
		out.MemoryBytes = cmp.Or(int64(l.MemoryBytes), out.MemoryBytes)
		out.PIDs = cmp.Or(l.Pids, out.PIDs)
	}
	if r := s.Deploy.Resources.Reservations; r != nil {
		out.ReserveCPUMillis = millis(r.NanoCPUs.Value())
		out.ReserveMemory = cmp.Or(int64(r.MemoryBytes), out.ReserveMemory)
	}
	return out
}

// millis turns cores into thousandths, at least one when there is any.
func millis(cores float32) int64 {
	if cores <= 0 {
		return int64(math.Floor(float64(cores)))
	}
	return max(1, int64(math.Round(float64(cores)*1000)))
}

// restart prefers deploy.restart_policy to restart, as the specification says.
func (c *converter) restart(field string, s *types.ServiceConfig) api.RestartPolicy {
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		p := s.Deploy.RestartPolicy
		at := field + ".deploy.restart_policy"
		out := api.RestartPolicy{Condition: p.Condition, Delay: duration(p.Delay), Window: duration(p.Window)}
		switch p.Condition {
		case "", api.RestartAny, api.RestartOnFailure, api.RestartNone:
		default:
			c.bad(at+".condition", p.Condition, "one of any, on-failure, none")
		}
		if p.MaxAttempts != nil {
			out.MaxAttempts = int(min(*p.MaxAttempts, math.MaxInt32))
		}
		return out
	}
	policy, attempts, counted := strings.Cut(s.Restart, ":")
	out := api.RestartPolicy{}
	switch policy {
	case "":
	case types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
		out.Condition = api.RestartAny
	case types.RestartPolicyNo:
		out.Condition = api.RestartNone
	case types.RestartPolicyOnFailure:
		out.Condition = api.RestartOnFailure
	default:
		c.bad(field+".restart", s.Restart, `one of "no", always, unless-stopped, on-failure[:ATTEMPTS]`)
	}
	if counted {
		n, err := strconv.Atoi(attempts)
		if err != nil || n < 0 || policy != types.RestartPolicyOnFailure {
			c.bad(field+".restart", s.Restart, `one of "no", always, unless-stopped, on-failure[:ATTEMPTS]`)
		}
		out.MaxAttempts = n
	}
	return out
}

// strategies gives how the service moves forward and back; x-ikada.strategy may change both later.
func (c *converter) strategies(field string, s *types.ServiceConfig) (update, rollback api.Strategy) {
	update = api.Strategy{Parallelism: defaultParallelism}
	rollback = update
	if s.Deploy == nil {
		return update, rollback
	}
	switch s.Deploy.Mode {
	case "", "replicated":
	default:
		c.refuse(field+".deploy.mode", s.Deploy.Mode, "not supported yet; expected replicated")
	}
	switch s.Deploy.EndpointMode {
	case "", "vip":
	case "dnsrr":
		c.warn("%s.deploy.endpoint_mode dnsrr is taken as vip: the service's name has one address, which stays while its "+
			"tasks change; tasks.%s has theirs", field, s.Name)
	default:
		c.bad(field+".deploy.endpoint_mode", s.Deploy.EndpointMode, "vip or dnsrr")
	}
	if u := s.Deploy.UpdateConfig; u != nil {
		update = c.strategy(field+".deploy.update_config", u)
	}
	if u := s.Deploy.RollbackConfig; u != nil {
		rollback = c.strategy(field+".deploy.rollback_config", u)
	}
	return update, rollback
}

func (c *converter) strategy(field string, u *types.UpdateConfig) api.Strategy {
	out := api.Strategy{
		Order:           u.Order,
		Parallelism:     defaultParallelism,
		Delay:           api.Duration(u.Delay),
		Monitor:         api.Duration(u.Monitor),
		MaxFailureRatio: ratio(u.MaxFailureRatio),
		FailureAction:   c.failureAction(field+".failure_action", u.FailureAction),
	}
	if u.Parallelism != nil {
		out.Parallelism = int(min(*u.Parallelism, api.MaxReplicas))
	}
	if out.Order != "" && out.Order != api.StartFirst && out.Order != api.StopFirst {
		c.bad(field+".order", out.Order, "start-first or stop-first")
	}
	return out
}

// failureAction takes pause, Swarm's default, as rollback: a release that failed must not stay half-way for a person
// to find.
func (c *converter) failureAction(field, action string) string {
	switch action {
	case "", api.ActionRollback, api.ActionContinue:
		return action
	case "pause":
		c.warn("%s pause is taken as rollback: a failed release is taken back by itself", field)
		return api.ActionRollback
	}
	c.bad(field, action, "rollback or continue")
	return ""
}

// ratio takes the noise of a 32-bit float away: 0.1 is to be 0.1.
func ratio(f float32) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return v
}

func (c *converter) placement(field string, s *types.ServiceConfig) api.Placement {
	if s.Deploy == nil {
		return api.Placement{}
	}
	p := s.Deploy.Placement
	out := api.Placement{Constraints: p.Constraints, MaxPerNode: int(min(p.MaxReplicas, api.MaxReplicas))}
	for i, pref := range p.Preferences {
		if !strings.HasPrefix(pref.Spread, "node.labels.") {
			c.bad(fmt.Sprintf("%s.deploy.placement.preferences[%d].spread", field, i), pref.Spread, "node.labels.NAME")
			continue
		}
		out.Spread = append(out.Spread, pref.Spread)
	}
	return out
}
