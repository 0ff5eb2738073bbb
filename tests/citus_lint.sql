-- What would keep the schema kompanion from being distributed by namespace later: one row a finding, no row is good.
-- Rules 1 to 4 of the design: ids that need no lookup, keys that start with namespace_id, identity of 64 bits,
-- triggers only by name. Reference tables (the same on every node) and row triggers that are allowed stand here.
with reference (name) as (
    values ('embedding_models'), ('settings')
), allowed_trigger (name) as (
    values ('memory_items_100_before_update'), ('memory_items_900_after_update'),
           ('memory_chunks_100_before_update'), ('memory_chunks_900_after_update'),
           ('memory_chunks_050_identity'), ('memory_item_revisions_050_by_hand')
), tables as (
    select c.oid, c.relname::text as name, c.relpersistence, exists (select 1 from reference r where r.name = c.relname) as reference
    from pg_class c
    where c.relnamespace = 'kompanion'::regnamespace and c.relkind in ('r', 'p')
      -- History of the migrations belongs to the node that migrates.
      and c.relname !~ '^(_yoyo|yoyo)_'
), spread as (
    select t.oid, t.name, a.attnum, a.attnotnull, a.attgenerated, a.attidentity, a.atttypid
    from tables t
    left join pg_attribute a on a.attrelid = t.oid and a.attname = 'namespace_id' and not a.attisdropped
    where not t.reference
), keys as (
    select x.indexrelid, x.indexrelid::regclass::text as name, x.indrelid, x.indkey[0] as first, x.indisexclusion
    from pg_index x
    where x.indisunique or x.indisexclusion
), foreign_keys as (
    select f.conname::text as name, f.*, s.attnum as own_space, t.attnum as other_space,
           t.oid is not null as to_spread, r.oid is not null as to_reference
    from pg_constraint f
    join spread s on s.oid = f.conrelid
    left join spread t on t.oid = f.confrelid
    left join tables r on r.oid = f.confrelid and r.reference
    where f.contype = 'f'
), functions as (
    select p.oid::regprocedure::text as name, p.*, l.lanname,
           p.prosrc || coalesce(pg_get_function_sqlbody(p.oid), '') as body
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'kompanion'::regnamespace
)
-- 1: the id of a namespace is a value, not a lookup
select '1 namespace_id(text) is not immutable' as rule, 'kompanion.namespace_id' as object
where not exists (select 1 from pg_proc p where p.oid = to_regprocedure('kompanion.namespace_id(text)') and p.provolatile = 'i')
union all
select '1 namespace_id is generated, an identity or no uuid', name from spread
where attgenerated <> '' or attidentity <> '' or atttypid <> 'uuid'::regtype
-- 2: everything carries the namespace, and every key starts with it
union all
select '2 no namespace_id, or a nullable one', name from spread where attnum is null or not attnotnull
union all
select '2 key does not start with namespace_id', k.name
from keys k join spread s on s.oid = k.indrelid where k.first is distinct from s.attnum
union all
select '2 no primary key', s.name
from spread s where not exists (select 1 from pg_index x where x.indrelid = s.oid and x.indisprimary)
union all
select '2 foreign key to a table that is not ours', name from foreign_keys where not to_spread and not to_reference
union all
select '2 foreign key does not start with namespace_id', name from foreign_keys
where to_spread and not (conkey[1] = own_space and confkey[1] = other_space)
union all
select '2 foreign key from a reference table to a spread one', f.conname::text
from pg_constraint f join tables t on t.oid = f.conrelid and t.reference join spread s on s.oid = f.confrelid
where f.contype = 'f'
union all
select '2 foreign key sets null or default, or cascades updates', f.conname::text
from pg_constraint f join tables t on t.oid = f.conrelid
where f.contype = 'f' and (f.confdeltype in ('n', 'd') or f.confupdtype in ('n', 'd', 'c'))
-- 3: identity columns have 64 bits
union all
select '3 identity or serial of less than 64 bits', s.name || '.' || a.attname
from spread s
join pg_attribute a on a.attrelid = s.oid and a.attnum > 0 and a.atttypid in ('integer'::regtype, 'smallint'::regtype)
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like 'nextval(%'
-- 4: row triggers by name only; nothing else that runs by itself or leaves the node
union all
select '4 trigger that is not allowed', g.tgname::text
from pg_trigger g join tables t on t.oid = g.tgrelid
where not g.tgisinternal and not exists (select 1 from allowed_trigger w where w.name = g.tgname)
union all
select '4 statement trigger', g.tgname::text
from pg_trigger g join tables t on t.oid = g.tgrelid where not g.tgisinternal and g.tgtype & 1 = 0
union all
select '4 rewrite rule', w.rulename::text from pg_rewrite w join tables t on t.oid = w.ev_class
union all
select '4 unlogged table', t.name from tables t where t.relpersistence <> 'p'
union all
select '4 inherits or is a partition', t.name
from tables t where exists (select 1 from pg_inherits i where t.oid in (i.inhrelid, i.inhparent))
union all
select '4 notifies', name from functions where body ~* '\m(pg_notify|notify)\M\s*[(a-z]'
union all
select '4 takes an advisory lock', name from functions where body ~* 'pg_(try_)?advisory'
-- What Citus cannot push down
union all
select '5 language sql and reads a table', f.name
from functions f
where f.lanname = 'sql'
  and exists (select 1 from tables t where f.body ~* ('\m(from|join|into|update)\s+(kompanion\.)?' || t.name || '\M'))
union all
select '5 row type of a table in the signature', f.name
from functions f
where exists (select 1 from tables t join pg_type y on y.typrelid = t.oid
              where y.oid = f.prorettype or y.oid = any (coalesce(f.proallargtypes, f.proargtypes::oid[])))
union all
select '5 no pinned search_path and reads a table', f.name
from functions f
where not exists (select 1 from unnest(coalesce(f.proconfig, '{}')) c where c like 'search\_path=%')
  and exists (select 1 from tables t where f.body ~* ('\m(from|join|into|update)\s+' || t.name || '\M'))
order by 1, 2;
