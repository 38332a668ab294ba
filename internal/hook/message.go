package hook

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// maxText bounds a message's sentences, in bytes: reasons may quote what tasks wrote.
const maxText = 2000

// encode gives the body of a message in a hook's format.
func encode(format string, m api.HookMessage) ([]byte, error) {
	var v any = m
	if format == api.HookSlack {
		v = map[string]string{"text": slackText(m)}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, api.Errorf(api.Internal, "encode message of hook %s: %w", m.Hook, err)
	}
	return b, nil
}

// slackText is a message in Slack's notation (https://docs.slack.dev/messaging/formatting-message-text).
func slackText(m api.HookMessage) string {
	mark := map[string]string{
		api.HookSuccess: ":white_check_mark:", api.HookRollback: ":rewind:", api.HookFailure: ":x:", api.HookCancel: ":no_entry_sign:",
		api.HookCrashLoop: ":rotating_light:", api.HookStart: ":arrow_forward:", api.HookJobFailed: ":x:", api.HookJobMissed: ":hourglass:",
	}[m.On]
	where := m.EnvRef.String()
	if m.App == "" {
		where = "ikada"
	}
	if m.Service != "" {
		where += " " + m.Service
	}
	lines := []string{strings.TrimSpace(mark+" *"+escape(where)+"*") + " " + escape(m.Message)}
	if j := m.Job; j != nil && j.ID != "" {
		about := fmt.Sprintf("job %s of release %d", j.ID, j.Release)
		if !j.StartedAt.IsZero() && j.EndedAt.After(j.StartedAt) {
			about += ", after " + j.EndedAt.Sub(j.StartedAt).Round(time.Millisecond).String()
		}
		lines = append(lines, escape(about))
	}
	if d := m.Deployment; d != nil {
		about := fmt.Sprintf("%s %d to release %d", d.Kind, d.Number, d.Release)
		if d.By != "" {
			about += " by " + d.By
		}
		if d.Note != "" {
			about += ": " + d.Note
		}
		lines = append(lines, escape(about))
		if m.Job == nil && d.Reason != "" && !strings.Contains(m.Message, d.Reason) {
			lines = append(lines, escape(d.Reason))
		}
		if m.On != api.HookStart && m.Job == nil && d.Receipt.Took > 0 {
			lines = append(lines, escape(receipt(d.Receipt)))
		}
	}
	return strings.Join(lines, "\n")
}

// receipt sums up what requests met.
func receipt(r api.Receipt) string {
	text := fmt.Sprintf("%d requests, %d failed, longest wait %s, took %s", r.Requests, r.Failed,
		r.LongestWait.Std().Round(time.Millisecond), r.Took.Std().Round(time.Millisecond))
	if r.Partial != "" {
		text += " (" + r.Partial + ")"
	}
	return text
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// cut shortens a sentence.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
