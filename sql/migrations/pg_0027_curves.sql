-- depends: pg_0026_calibration
-- The curves that a calibration measured, and where they reach a recall.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._calibration_curve(
    state      jsonb,
    share      integer,
    difficulty integer default null
)
    returns table (knob integer, recall double precision, milliseconds double precision, runs bigint)
    language plpgsql
    immutable
    set search_path from current
as $_calibration_curve$
-- One measured curve: recall never falls as the knob grows. A difficulty that too few queries had borrows those of all;
-- so does time, which does not depend on it. Settings no query needed any more cost in proportion to the last that was timed.
begin
    return query
    with cell as (
        select c.d, l.knob, (state #>> array['runs', c.i::text])::bigint as runs, (state #>> array['hits', c.i::text])::double precision as hits,
               (state #>> array['ms', c.i::text])::double precision as ms, (state #>> array['timed', c.i::text])::bigint as timed
        from jsonb_array_elements_text(state -> 'ladder') with ordinality l0 (knob, j)
        cross join lateral (select l0.knob::integer as knob) l
        cross join lateral (
            select d, (d * jsonb_array_length(state -> 'shares') + share) * jsonb_array_length(state -> 'ladder') + l0.j - 1 as i
            from generate_series(0, jsonb_array_length(state -> 'edges')) d) c
    ), own as (
        select bool_and(x.n >= 8) as enough
        from (select sum(c.runs) as n from cell c where c.d = _calibration_curve.difficulty group by c.knob) x
    ), pooled as (
        select c.knob, sum(c.ms) / nullif(sum(c.timed), 0) as ms,
               sum(c.hits) filter (where not o.enough or c.d = coalesce(_calibration_curve.difficulty, c.d)) as hits,
               sum(c.runs) filter (where not o.enough or c.d = coalesce(_calibration_curve.difficulty, c.d)) as runs
        from cell c cross join (select coalesce(w.enough, true) as enough from own w) o
        group by c.knob
    ), known as (
        select p.*, max(p.knob) filter (where p.ms is not null) over () as last_timed from pooled p where p.runs > 0
    )
    select k.knob, max(k.hits / k.runs) over (order by k.knob),
           coalesce(k.ms, (select t.ms from known t where t.knob = k.last_timed) * k.knob / k.last_timed), k.runs::bigint
    from known k
    order by k.knob;
end;
$_calibration_curve$;
revoke all on function kompanion._calibration_curve(jsonb, integer, integer) from public;
comment on function kompanion._calibration_curve(jsonb, integer, integer) is 'Internal. One measured curve of recall and time.';

create function kompanion._reach_on_curve(
    state      jsonb,
    share      integer,
    difficulty integer,
    aim        double precision,
    out knob         integer,
    out milliseconds double precision,
    out recall       double precision
)
    language plpgsql
    immutable
    set search_path from current
as $_reach_on_curve$
-- Where a measured curve reaches a recall: between two measured knobs on a straight line over the logarithm. NULL: nowhere.
declare
    v_last   record;
    v_weight double precision := 1;
    r        record;
begin
    for r in select c.knob, c.recall, c.milliseconds from _calibration_curve(state, share, difficulty) c loop
        if r.recall >= aim then
            if v_last is not null then
                v_weight := (aim - v_last.recall) / (r.recall - v_last.recall);
            else
                v_last := r;
            end if;
            knob := ceil(v_last.knob ^ (1 - v_weight) * r.knob ^ v_weight);
            milliseconds := v_last.milliseconds * (1 - v_weight) + r.milliseconds * v_weight;
            recall := v_last.recall * (1 - v_weight) + r.recall * v_weight;
            return;
        end if;
        v_last := r;
    end loop;
end;
$_reach_on_curve$;
revoke all on function kompanion._reach_on_curve(jsonb, integer, integer, double precision) from public;
comment on function kompanion._reach_on_curve(jsonb, integer, integer, double precision) is 'Internal. Where a measured curve reaches a recall.';
