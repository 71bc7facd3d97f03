/* count.c - how many shapes there are, by state. */
#include "base/metrics.h"
#include "shapes/core/shape.h"

void shape_count(struct shape *s)
{
	/* One more than the place in the metric's labels; 0: as none. */
	static const uint8_t of_state[] = {
		[SHAPE_CREATING] = SHAPES_CREATING + 1, [SHAPE_SNAPSHOTTING] = SHAPES_SNAPSHOTTING + 1, [SHAPE_LIVE] = SHAPES_LIVE + 1,
		[SHAPE_FAILED] = 0, [SHAPE_GONE] = 0,
	};
	uint8_t now = of_state[s->tail.state];
	if (now != 0 && atomic_load(&s->dropped))
		now = SHAPES_LEAVING + 1;
	if (now == s->counted)
		return;
	if (s->counted != 0)
		metric_add_label(METRIC_SHAPES, s->counted - 1u, -1);
	if (now != 0)
		metric_add_label(METRIC_SHAPES, now - 1u, 1);
	s->counted = now;
}
