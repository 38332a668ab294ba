package etcd

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap/zapcore"
)

// zapToSlog hands etcd's warnings and errors on to slog; what etcd tells below that is of no use to an operator.
type zapToSlog struct {
	handler slog.Handler
	fields  []zapcore.Field
}

func (z zapToSlog) Enabled(level zapcore.Level) bool {
	return level >= zapcore.WarnLevel && z.handler.Enabled(context.Background(), slogLevel(level))
}

func (z zapToSlog) With(fields []zapcore.Field) zapcore.Core {
	z.fields = append(slices.Clip(z.fields), fields...)
	return z
}

func (z zapToSlog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) && !expected(e.Message) {
		return ce.AddCore(e, z)
	}
	return ce
}

func (z zapToSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(z.fields), fields...) {
		f.AddTo(enc)
	}
	r := slog.NewRecord(e.Time, slogLevel(e.Level), "etcd: "+e.Message, 0)
	for k, v := range enc.Fields {
		r.AddAttrs(slog.Any(k, v))
	}
	return z.handler.Handle(context.Background(), r)
}

func (z zapToSlog) Sync() error { return nil }

func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelError
	case level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// expected tells which of etcd's warnings describe what this package does on purpose, or what the caller is told by
// an error anyway.
func expected(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.", // nothing listens
		"Failed to detect schema version", "failed to update storage version", // a new member before its first snapshot; tried again
		"failed to update cluster version", "server has stopped; skipping GoAttach", // closed while starting
		"failed to apply request":
		return true
	}
	return false
}
