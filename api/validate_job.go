package api

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var cronName = regexp.MustCompile(`^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$`)

// jobs checks a service's release command and its crons, but for the schedules, which the server reads.
func (v *validator) jobs(field string, s *ServiceSpec) {
	if r := s.Release; r != nil {
		v.command(field+".release", &r.Command)
		v.duration(field+".release.timeout", r.Timeout)
	}
	if len(s.Cron) > MaxCrons {
		v.bad(field+".cron", fmt.Sprint(len(s.Cron)), fmt.Sprintf("at most %d", MaxCrons))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Cron)) {
		c := s.Cron[name]
		at := field + ".cron." + name
		v.check(cronName.MatchString(name) && name != string(JobRun) && name != string(JobRelease), at, name,
			"1 to 63 lowercase letters, digits, '-' and '_', beginning with a letter; not run or release")
		v.command(at, &c.Command)
		v.check(c.Schedule != "", at+".schedule", "", `when it runs, such as "*/5 * * * *"`)
		v.oneOf(at+".concurrency", c.Concurrency, "", CronForbid, CronAllow, CronReplace)
		v.oneOf(at+".missed", c.Missed, "", MissedSkip, MissedOnce)
		v.duration(at+".timeout", c.Timeout)
		v.duration(at+".startingDeadline", c.StartingDeadline)
	}
}

// command checks what a job runs.
func (v *validator) command(field string, c *Command) {
	v.check(len(c.Command)+len(c.Entrypoint) > 0, field+".command", "", "a command and its arguments")
	for i, args := range [][]string{c.Entrypoint, c.Command} {
		for j, a := range args {
			v.check(!strings.ContainsRune(a, 0), fmt.Sprintf("%s.%s[%d]", field, []string{"entrypoint", "command"}[i], j),
				"", "an argument without a zero byte")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		v.check(k != "" && !strings.ContainsAny(k, "=\x00"), field+".env", k, "a variable's name without '='")
		v.check(!strings.ContainsRune(c.Env[k], 0), field+".env."+k, "", "a value without a zero byte")
	}
}
