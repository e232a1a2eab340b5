"""Pictures of numbers: heat maps of schedules, charts of scores, contact sheets, maps of attention."""
