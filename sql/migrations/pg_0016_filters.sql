-- depends: pg_0015_lifecycle
-- Metadata filters: one JSON grammar, compiled to one strict jsonpath, so that equality goes by the GIN index.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._raise_bad_filter(
    problem text
)
    returns void
    language plpgsql
    immutable
    set search_path from current
as $_raise_bad_filter$
-- The one wording for a filter that is not of the grammar.
begin
    raise exception using
        errcode = 'KM006',
        message = format('filter: %s', problem),
        hint    = 'Filters are objects such as {"topic": "x", "n": {"$gte": 3}}; operators: $eq $ne $gt $gte $lt $lte $in $nin '
                  '$exists $contains $and $or $not; a dotted name such as "a.b" goes into an object.';
end;
$_raise_bad_filter$;
revoke all on function kompanion._raise_bad_filter(text) from public;
comment on function kompanion._raise_bad_filter(text) is 'Internal. Raises KM006.';

create function kompanion._filter_operator(
    path     text,
    operator text,
    operand  jsonb,
    negated  boolean
)
    returns text
    language plpgsql
    immutable
    set search_path from current
as $_filter_operator$
-- One operator on one field, as a jsonpath predicate. In strict mode a missing field or a value of another type makes
-- a predicate unknown, so negation spells out "false or unknown": what is not there is not equal either.
declare
    v_kind text := jsonb_typeof(operand);
    v_test text;
begin
    if operator in ('$ne', '$nin') then
        return _filter_operator(path, case operator when '$ne' then '$eq' else '$in' end, operand, not negated);
    elsif operator = '$eq' then
        if v_kind in ('object', 'array') then
            perform _raise_bad_filter(format('$eq compares with text, a number, true, false or null, not with an %s', v_kind));
        end if;
        v_test := format('%s == %s', path, operand);
    elsif operator in ('$gt', '$gte', '$lt', '$lte') then
        if v_kind not in ('number', 'string') then
            perform _raise_bad_filter(format('%s compares with a number or text, not with %s', operator, v_kind));
        end if;
        v_test := format('%s %s %s', path, case operator when '$gt' then '>' when '$gte' then '>=' when '$lt' then '<' else '<=' end,
                         operand);
    elsif operator = '$in' then
        if v_kind <> 'array' or exists (select 1 from jsonb_array_elements(case v_kind when 'array' then operand else '[]' end) e
                                        where jsonb_typeof(e) in ('object', 'array')) then
            perform _raise_bad_filter('$in and $nin take a list of texts, numbers, true, false or null');
        elsif jsonb_array_length(operand) > 1000 then
            perform _raise_bad_filter(format('$in has %s values, at most 1000 are allowed', jsonb_array_length(operand)));
        end if;
        v_test := coalesce((select string_agg(format('%s == %s', path, e), ' || ' order by n)
                            from jsonb_array_elements(operand) with ordinality t (e, n)), '1 == 0');
    elsif operator = '$exists' then
        if v_kind <> 'boolean' then
            perform _raise_bad_filter('$exists takes true or false');
        end if;
        negated := negated = operand::boolean;
        v_test := format('exists (%s)', path);
    elsif operator = '$contains' then
        if v_kind = 'object' or exists (select 1 from jsonb_array_elements(case v_kind when 'array' then operand else '[]' end) e
                                        where jsonb_typeof(e) in ('object', 'array')) then
            perform _raise_bad_filter('$contains takes one value or a list of values that the list must hold');
        end if;
        v_test := coalesce((select string_agg(format('exists (%s[*] ? (@ == %s))', path, e), ' && ' order by n)
                            from jsonb_array_elements(case v_kind when 'array' then operand else jsonb_build_array(operand) end)
                                 with ordinality t (e, n)), format('%s.type() == "array"', path));
    else
        perform _raise_bad_filter(format('unknown operator %L', left(operator, 100)));
    end if;
    return case when negated then format('(!(%s) || (%s) is unknown)', v_test, v_test) else format('(%s)', v_test) end;
end;
$_filter_operator$;
revoke all on function kompanion._filter_operator(text, text, jsonb, boolean) from public;
comment on function kompanion._filter_operator(text, text, jsonb, boolean) is 'Internal. One operator of a filter as a jsonpath predicate.';

create function kompanion._filter_predicate(
    filter  jsonb,
    negated boolean,
    depth   integer
)
    returns text
    language plpgsql
    immutable
    set search_path from current
as $_filter_predicate$
-- A filter as a jsonpath predicate. Negation is pushed down to the operators, where unknown is turned into true.
declare
    v_name  text;
    v_value jsonb;
    v_path  text;
    v_field record;
    v_parts text[] := '{}';
    v_glue  text := case when negated then ' || ' else ' && ' end;
begin
    if depth > 32 then
        perform _raise_bad_filter('it is nested deeper than 32 levels');
    elsif jsonb_typeof(filter) is distinct from 'object' then
        perform _raise_bad_filter(format('expected an object, found %s', coalesce(jsonb_typeof(filter), 'NULL')));
    end if;
    for v_name, v_value in select e.key, e.value from jsonb_each(filter) e loop
        if v_name in ('$and', '$or') then
            if jsonb_typeof(v_value) <> 'array' or jsonb_array_length(v_value) = 0 then
                perform _raise_bad_filter(format('%s takes a list of one or more filters', v_name));
            end if;
            v_parts := v_parts || (
                select '(' || string_agg(_filter_predicate(e, negated, depth + 1),
                                         case when (v_name = '$and') = negated then ' || ' else ' && ' end order by n) || ')'
                from jsonb_array_elements(v_value) with ordinality t (e, n));
        elsif v_name = '$not' then
            v_parts := v_parts || _filter_predicate(v_value, not negated, depth + 1);
        elsif left(v_name, 1) = '$' then
            perform _raise_bad_filter(format('unknown operator %L', left(v_name, 100)));
        else
            if length(v_name) > 512 then  -- it is written down for each value that it is compared with
                perform _raise_bad_filter(format('field %L has %s characters, at most 512 are allowed', left(v_name, 100), length(v_name)));
            elsif exists (select 1 from unnest(string_to_array(v_name, '.')) s where s = '') or v_name = '' then
                perform _raise_bad_filter(format('field %L has an empty part', left(v_name, 100)));
            end if;
            v_path := '$' || (select string_agg('.' || to_jsonb(s)::text, '' order by n)
                              from unnest(string_to_array(v_name, '.')) with ordinality t (s, n));
            if jsonb_typeof(v_value) = 'array' then
                perform _raise_bad_filter(format('field %L is compared with a list; use $in or $contains', left(v_name, 100)));
            elsif jsonb_typeof(v_value) <> 'object' then
                v_parts := v_parts || _filter_operator(v_path, '$eq', v_value, negated);
            elsif v_value = '{}' then
                perform _raise_bad_filter(format('field %L has no operator', left(v_name, 100)));
            else
                v_parts := v_parts || (
                    select '(' || string_agg(case when e.key = '$not' and jsonb_typeof(e.value) = 'object'
                                                  then _filter_predicate(jsonb_build_object(v_name, e.value), not negated, depth + 1)
                                                  else _filter_operator(v_path, e.key, e.value, negated) end, v_glue) || ')'
                    from jsonb_each(v_value) e);
            end if;
        end if;
    end loop;
    return case when v_parts = '{}' then case when negated then '(1 == 0)' else '(1 == 1)' end
           else '(' || array_to_string(v_parts, v_glue) || ')' end;
end;
$_filter_predicate$;
revoke all on function kompanion._filter_predicate(jsonb, boolean, integer) from public;
comment on function kompanion._filter_predicate(jsonb, boolean, integer) is 'Internal. A filter as a jsonpath predicate.';

create function kompanion.compile_filter(
    filter jsonb
)
    returns jsonpath
    language plpgsql
    immutable
    set search_path from current
as $compile_filter$
-- A filter as one jsonpath: select * from kompanion.live_items where metadata @@ kompanion.compile_filter('{"topic": "x"}').
-- NULL and {} ask for nothing and give NULL. A short filter is not searched for what is too much of it. Depth is looked at first,
-- as the values of a deep one would be all of it again for each level; a level of the grammar is at most an object in a list. Of a
-- number all digits are written down, and 1e9999 has few bytes.
declare
    v_parts      bigint;
    v_characters bigint;
begin
    if filter is null or filter = '{}' then
        return null;
    elsif pg_column_size(filter || '{}') > 500 then
        if filter @? 'strict $.**{65} ? (@.type() == "object" || @.type() == "array")' then
            perform _raise_bad_filter('it is nested deeper than 32 levels');
        end if;
        select count(*), sum(case when jsonb_typeof(p.v) in ('string', 'number') then length(p.v::text) end) into v_parts, v_characters
        from (select v from jsonb_path_query(filter, 'strict $.**') v limit 5001) p;
        if v_parts > 5000 then
            perform _raise_bad_filter('it has more than 5000 parts');
        elsif v_characters > 1048576 then
            raise exception using
                errcode = 'KM008', message = format('filter: has %s characters, at most 1048576 are allowed', v_characters),
                hint    = 'Ask for what many items share, such as a tag.';
        end if;
    end if;
    return ('strict ' || _filter_predicate(filter, false, 1))::jsonpath;
end;
$compile_filter$;
revoke all on function kompanion.compile_filter(jsonb) from public;
comment on function kompanion.compile_filter(jsonb) is
    'A metadata filter as a jsonpath, to be used as: metadata @@ compile_filter(filter). KM006 names what is wrong with a bad one.';
